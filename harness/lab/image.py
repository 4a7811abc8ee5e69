"""The lab image: a Debian root tree, the same as a disk, and what L1 boots with.

Layout of a cache entry, `images/<key>/`:
    root/           the tree; the controller runs its QEMU out of it
    qemu-system-x86_64  the tree's QEMU, mended (svmfix); absent where that cannot be done
    qemu-from-source    the key of the same version's build with the fix (qemusource), if asked for
    lab.img         the tree as an ext4 file system, shared read-only by all labs
    kernel, initrd  what L1 boots (the initrd holds the ssh keys: mode 0600)
    keys/           the keys of this user's labs
    guest           the key of the micro guest, which lies in the tree where guest.image has it
    qemu            the version of the tree's QEMU
    packages.txt    exact versions; manifest.json: what the key is the hash of
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from harness.errors import LabError, MissingCapability
from harness.guest import cpio, elf, initramfs, kernel, modules, rootfs
from harness.guest import image as guest_image
from harness.guest.image import GuestImage
from harness.host.local import LocalHost
from harness.lab import debian, machine, qemusource, svmfix
from harness.lab.cache import building, locked
from harness.lab.machine import Keys
from harness.lab.progress import Steps, shown
from harness.lab.toolchain import Toolchain
from harness.qemu.config import DeployedImage
from harness.units import MIB
from harness.xdg import cache_root

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
    "this QEMU is not the one whose fault in SVM is known by its code, so a guest may hang; "
    "`nicproof lab build --qemu source` builds one without the fault, in a few minutes"
)

SOURCES = (svmfix, machine, debian, guest_image, initramfs, cpio, elf, kernel, modules, rootfs)
"""What decides, beside the packages, on what is in the image."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in an image, except for the versions of the day."""

    layout: int = LAYOUT
    suite: str = SUITE
    packages: tuple[str, ...] = PACKAGES
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
    def choice(self) -> Path:
        """Names the build that L1 is to run under; absent unless asked for."""
        return self.directory / "qemu-from-source"

    @property
    def built_qemu(self) -> Path | None:
        """The same version built from its source with the fix, if that is the choice.

        Each build has a path of its own, which the states kept under it are named by.
        """
        if not self.choice.exists():
            return None
        program = qemusource.program(self.choice.read_text())
        return program if program.exists() else None

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
        patched = self.fixed_qemu if self.fixed_qemu.exists() else None
        return Toolchain(self.root, self.built_qemu or patched)

    @property
    def svm_fault(self) -> str:
        """What has become of it, for the record of a run."""
        if self.built_qemu:
            return "mended in the source"
        return "mended" if self.fixed_qemu.exists() else "there"

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
    return Manifest(mirror=debian.mirror(), files=_hash(*(path.read_bytes() for path in sources)))


def images() -> Path:
    return cache_root() / "images"


def is_built() -> bool:
    """Whether the image is there already, so that a lab starts at once."""
    return (images() / current_manifest().key).is_dir()


def ensure_image(*, progress: bool = True) -> LabImage:
    """The image, built if it is not there yet. Concurrent builders wait for one another."""
    manifest = current_manifest()
    image = LabImage(images() / manifest.key)
    if image.directory.is_dir():
        return image
    with shown(SHARES, progress) as steps, locked(images(), steps.say):
        if not image.directory.is_dir():  # else somebody built it while we waited
            with building(image.directory) as partial:
                _build(LabImage(partial), manifest, steps)
    return image


def _build(image: LabImage, manifest: Manifest, steps: Steps) -> None:
    mke2fs = find_mke2fs()
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
    LocalHost().run(disk_argv(mke2fs, image), timeout=300)
    (at / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))


def use_source(image: LabImage, *, progress: bool = True) -> None:
    """Have L1 run under a QEMU built from its source with the fix, from the next start on."""
    source = qemusource.source_of(image.packages, SUITE, debian.mirror())
    with shown(qemusource.SHARES, progress) as steps:
        built = qemusource.ensure_build(source, steps)
    said = Toolchain(image.root, built).qemu_version()
    if said != image.qemu_version:
        raise LabError(f"{built} is QEMU {said}, but the lab's image has {image.qemu_version}")
    image.choice.write_text(source.key)


def use_patched(image: LabImage) -> None:
    """Back to the patched binary of Debian's."""
    image.choice.unlink(missing_ok=True)


def _make_guest(image: LabImage) -> None:
    """Build the micro guest to where the host it is for expects it."""
    cache = image.root / guest_image.CACHE.lstrip("/")
    built = guest_image.build_guest_image(image.root, cache / "new")
    (cache / "new").rename(image.root / Path(guest_image.installed(built.key).kernel[1:]).parent)
    (image.directory / "guest").write_text(built.key)


def disk_argv(mke2fs: str, image: LabImage) -> tuple[str, ...]:
    """argv that writes the tree as a file system, every file owned by root.

    In a user namespace that maps the user to root, the user's files are root's; no mount is made
    and no privilege taken. Nothing ever writes to the disk, so there is little slack, no journal.
    """
    bytes_, files = _size(image.root)
    blocks = bytes_ * 21 // 20 // 4096 + 16 * MIB // 4096
    as_root = () if os.geteuid() == 0 else ("unshare", "--map-root-user")
    return (
        *(*as_root, mke2fs, "-q", "-t", "ext4", "-b", "4096", "-m", "0", "-N", str(files + 1024)),
        *("-O", "^has_journal,^resize_inode", "-L", "nicproof-lab", "-d", str(image.root)),
        *(str(image.disk), str(blocks)),
    )


def find_mke2fs() -> str:
    """mke2fs, which lies outside an ordinary user's PATH."""
    found = shutil.which("mke2fs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise MissingCapability("mke2fs", "it is not installed", remedy=debian.REMEDY)
    return found


def _size(root: Path) -> tuple[int, int]:
    """Bytes, in whole blocks, and number of the files below `root`."""
    total = count = 0
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            size = os.lstat(os.path.join(directory, name)).st_size
            total += -(-size // 4096) * 4096
            count += 1
    if not count:
        raise LabError(f"{root} is empty")
    return total, count


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
