"""The lab image: a Debian root tree, the same as a disk, and what L1 boots with.

Layout of a cache entry, `images/<key>/`:
    root/           the tree; the controller runs its QEMU out of it
    qemu-system-x86_64  the tree's QEMU, mended (svmfix); absent where that cannot be done
    lab.img         the tree as an ext4 file system, shared read-only by all labs
    kernel, initrd  what L1 boots (the initrd holds the ssh keys: mode 0600)
    keys/           the keys of this user's labs
    guest           the key of the micro guest, which lies in the tree where guest.image has it
    qemu            the version of the tree's QEMU
    packages.txt    exact versions; manifest.json: what the key is the hash of
    contents.json   every file with its size, by which damage is known (cache)
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.core.errors import ConfigError
from harness.core.xdg import cache_root
from harness.guest.image import (
    compile_agent,
    cpio,
    elf,
    initramfs,
    kernel,
    modules,
    python,
    rootfs,
)
from harness.guest.image import micro as guest_image
from harness.guest.image.micro import GuestImage
from harness.labs.nested import cache, debian, disk, machine, svmfix
from harness.labs.nested.machine import Keys
from harness.labs.nested.progress import Steps, shown
from harness.labs.nested.toolchain import Toolchain
from harness.paths import guest_drivers
from harness.qemu.config import DeployedImage

LAYOUT = 2
"""Version of the cache entry's layout and of how it is made."""

SUITE = "trixie"

PACKAGES = (
    # a shell's world
    *("base-files", "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils"),
    *(
        "grep",
        "gzip",
        "hostname",
        "less",
        "libc-bin",
        "mawk",
        "mount",
        "ncurses-base",
        "netbase",
        "procps",
    ),
    *("sed", "tar", "util-linux"),
    # the machine, its guests, the way in
    *("linux-image-amd64", "kmod", "busybox-static", "qemu-system-x86", "qemu-utils"),
    *("qemu-guest-agent", "openssh-server", "python3"),
    # networks
    *("ethtool", "iperf3", "iproute2", "iputils-ping", "pciutils", "tcpdump"),
)

TOOLS = ("mmdebstrap", *disk.TOOLS, "ssh-keygen")
"""Programs of the controller's that make an image."""

SHARES = {
    debian.INDEX: 4.0,
    debian.DOWNLOAD: 9.0,
    debian.UNPACK: 18.0,
    "finishing the tree": 3.0,
    "making the guest": 3.0,
    "making the disk": 6.0,
}
"""Steps of a build with the seconds they take on two cores."""


UNKNOWN_QEMU = (
    "Debian's QEMU is not the one whose fault in SVM is known by its code: only one that is built "
    "from source will be without it"
)

SOURCES = (
    *(svmfix, machine, debian),
    *(guest_image, initramfs, cpio, elf, kernel, modules, rootfs, python, compile_agent),
)
"""What decides, beside the packages, on what is in the image."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in an image, except for the versions of the day."""

    layout: int = LAYOUT
    suite: str = SUITE
    packages: tuple[str, ...] = PACKAGES
    drivers: tuple[str, ...]  # of the guest's NICs
    mirror: str
    files: str  # hash of L1's own files and of the way the guest is made

    @property
    def key(self) -> str:
        return _hash(msgspec.json.encode(self))


class LabImage(msgspec.Struct, frozen=True):
    """A finished cache entry."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def fixed_qemu(self) -> Path:
        """The controller's QEMU without the fault that svmfix knows; absent where it does not."""
        return self.directory / "qemu-system-x86_64"

    @property
    def disk(self) -> Path:
        return self.directory / "lab.img"

    @property
    def kernel(self) -> Path:
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def keys(self) -> Keys:
        return Keys(self.directory / "keys")

    @property
    def toolchain(self) -> Toolchain:
        """By the wall's clock, and where no QEMU from source can be had."""
        return Toolchain(self.root, self.fixed_qemu if self.fixed_qemu.exists() else None)

    @property
    def guest(self) -> DeployedImage:
        """The micro guest, as it lies in L1."""
        return guest_image.installed(self._guest_key)

    @property
    def micro_guest(self) -> GuestImage:
        """The micro guest, as it lies here."""
        kernel, initrd = (
            self.root / path.lstrip("/") for path in (self.guest.kernel, self.guest.initrd)
        )
        return GuestImage(self._guest_key, kernel, initrd)

    @property
    def _guest_key(self) -> str:
        return (self.directory / "guest").read_text()

    @property
    def qemu_version(self) -> str:
        """For example "10.0.13"."""
        return (self.directory / "qemu").read_text()

    @property
    def packages(self) -> str:
        return (self.directory / "packages.txt").read_text()

    @property
    def identity(self) -> str:
        """Names the content: a rebuilt image with other versions or keys has another one."""
        return _hash(self.packages.encode(), self.initrd.read_bytes())


def current_manifest() -> Manifest:
    """The manifest of the image that this version of nicproof works with."""
    sources = (Path(module.__file__ or "") for module in SOURCES)
    files = _hash(*(path.read_bytes() for path in sources))
    return Manifest(drivers=guest_drivers(), mirror=debian.mirror(), files=files)


def images() -> Path:
    return cache_root() / "images"


def current_image() -> LabImage:
    """The image that this version of nicproof works with, whether it is there or not."""
    return LabImage(images() / current_manifest().key)


def is_built() -> bool:
    """Whether the image is there already, so that a lab starts at once."""
    return current_image().directory.is_dir()


def ensure_image(*, progress: bool = True) -> LabImage:
    """The image, built if it is not there yet, or anew if it has lost a file. Concurrent builders
    wait for one another.

    Raises ConfigError if the cache cannot be used, MissingCapability without the tools to build.
    """
    manifest = current_manifest()
    image = LabImage(_sayable(images()) / manifest.key)
    if cache.damage(image.directory):
        with shown(SHARES, progress) as steps:

            def build(partial: Path) -> None:
                _build(LabImage(partial), manifest, steps)

            cache.ensure(image.directory, "the lab's image", build, steps.say)
    _close(image.keys)
    return image


def _close(keys: Keys) -> None:
    """ssh refuses keys that others may read, as a copy of the cache may have them."""
    for key in (keys.client, keys.host):
        if key.stat().st_mode & 0o077:
            with suppress(OSError):  # in a cache that is read only; ssh tells it then
                key.chmod(0o600)


def _sayable(directory: Path) -> Path:
    """ConfigError for a path by which the tree's programs cannot be started: ld.so(8) splits its
    list of directories at ':' and ';', and puts something else in place of $NAME."""
    if found := re.search(r"[:;$\x00-\x1f\x7f]", str(directory)):
        raise ConfigError(
            f"the lab cannot be kept in {directory}: there is {found[0]!r} in that path",
            remedy="set XDG_CACHE_HOME to another directory",
        )
    return directory


def _build(image: LabImage, manifest: Manifest, steps: Steps) -> None:
    for tool in TOOLS:  # before anything is downloaded
        debian.found(tool)
    at = image.directory
    log = images() / "build.log"
    log.unlink(missing_ok=True)
    packages = debian.Packages(manifest.suite, manifest.mirror, manifest.packages)
    (at / "packages.txt").write_text(debian.make_root(packages, image.root, log, steps))
    shutil.copy(log, at / "build.log")
    debian.unpack_modules(image.root, machine.QUICK_MODULES)
    machine.furnish(image.root)
    steps.step("making the guest")
    _make_guest(image)
    shutil.copyfile(image.toolchain.kernel, image.kernel)
    keys = machine.make_keys(image.keys.directory)
    image.initrd.touch(mode=0o600)
    image.initrd.write_bytes(machine.initrd(image.root, keys))
    if not svmfix.make_fixed_copy(image.root / rootfs.QEMU, image.fixed_qemu):
        steps.say(UNKNOWN_QEMU)
    (at / "qemu").write_text(image.toolchain.qemu_version())
    steps.step("making the disk")
    disk.make_disk(image.root, image.disk)
    (at / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))


def _make_guest(image: LabImage) -> None:
    """Build the micro guest to where the host it is for expects it."""
    cache = image.root / guest_image.CACHE.lstrip("/")
    built = guest_image.build_guest_image(image.root, cache / "new", guest_drivers())
    (cache / "new").rename(image.root / Path(guest_image.installed(built.key).kernel[1:]).parent)
    (image.directory / "guest").write_text(built.key)


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
