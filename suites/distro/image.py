"""Debians as people install them: systemd and udev, a manager of networks, an account with sudo.

The lab's own L1 has none of that: nothing renames an interface there, and nobody sets one up whom
the harness did not ask to. What runs below, the kernel and QEMU, is the lab image's.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

import msgspec

from harness.core.errors import MissingCapability
from harness.guest.image.modules import MODULES
from harness.hosts.local import LocalHost
from harness.labs.nested import cache, debian, disk, machine
from harness.labs.nested.image import LabImage, ensure_image, images
from harness.labs.nested.progress import Steps, shown
from harness.labs.nested.toolchain import Toolchain

USER = "tester"
"""An account that may do everything by sudo, without a password."""

GUEST = "guest"
"""An account that may do nothing."""

PACKAGES = (
    # a system
    *("systemd-sysv", "udev", "dbus", "libpam-systemd", "sudo", "login", "passwd", "bash"),
    *("openssh-server", "hostname", "procps", "kmod", "mount", "util-linux", "nftables"),
    # what nicproof asks of a host
    *("qemu-system-x86", "python3", "ethtool", "iperf3", "iproute2", "iputils-ping", "pciutils"),
)


class Distro(msgspec.Struct, frozen=True):
    """A kind of Debian. `furnish` is shell that is run at its build, with the new root as $1."""

    name: str
    suite: str
    packages: tuple[str, ...]
    furnish: str


DEBIAN_13 = Distro("debian13", "trixie", ("network-manager",), "")

DEBIAN_12 = Distro(
    "debian12",
    "bookworm",
    (),
    r"""
cat >"$1/etc/systemd/network/80-all.network" <<END
[Match]
Type=ether
[Network]
DHCP=yes
END
cat >"$1/etc/nftables.conf" <<END
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif lo accept
		tcp dport 22 accept
	}
}
END
chroot "$1" systemctl --quiet enable systemd-networkd nftables
""",
)
"""Its firewall lets in nothing but ssh, as servers have it."""

LEFT_OUT = ("doc", "man", "info", "locale")
"""Of /usr/share."""

LIMIT = 900.0
"""Seconds for mmdebstrap; 80 on two idle cores."""

FURNISH = rf"""
set -e
chroot "$1" useradd --create-home --shell /bin/bash {USER}
chroot "$1" useradd --create-home --shell /bin/bash {GUEST}
echo "{USER} ALL=(root) NOPASSWD: ALL" >"$1/etc/sudoers.d/{USER}"
chmod 0440 "$1/etc/sudoers.d/{USER}"
echo {machine.NAME} >"$1/etc/hostname"
echo "127.0.0.1 localhost {machine.NAME}" >"$1/etc/hosts"
cat >"$1/etc/ssh/sshd_config.d/lab.conf" <<END
AuthorizedKeysFile /etc/ssh/authorized_keys
HostKey /etc/ssh/ssh_host_ed25519_key
LoginGraceTime 0
MaxSessions 150
MaxStartups 100
END
rm -f "$1"/etc/ssh/ssh_host_*
mkdir -p "$1/etc/systemd/system.conf.d"
cat >"$1/etc/systemd/system.conf.d/lab.conf" <<END
[Manager]
DefaultTimeoutStartSec=30min
DefaultDeviceTimeoutSec=30min
END
ln -sf /dev/null "$1/etc/systemd/system/serial-getty@ttyS0.service"
printf '#!/bin/sh\nexec /sbin/init\n' >"$1/usr/bin/busybox"
chmod 755 "$1/usr/bin/busybox"
"""
"""In the new root ($1). Logins are by the lab's key, and nothing is given up because the machine
that emulates it is busy; the rest is as its packages have it. The lab's initial root, taken
as it is, starts a busybox, so that is systemd here."""

SHARES = {"installing a Debian": 80.0, "making its disk": 10.0}


class DistroImage(LabImage, frozen=True):
    """A finished entry of the cache, of which LabMachine takes disk, initrd and keys."""

    lab: LabImage

    @property
    def toolchain(self) -> Toolchain:
        return self.lab.toolchain

    @property
    def kernel(self) -> Path:
        return self.lab.kernel

    @property
    def qemu_version(self) -> str:
        return self.lab.qemu_version


class _Recipe(msgspec.Struct, frozen=True):
    """All that decides on what is in the image, but for the versions of the day."""

    distro: Distro
    lab: str
    mirror: str
    text: str

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def ensure_distro_image(distro: Distro, *, progress: bool = True) -> DistroImage:
    """The image, made if it is not there yet, and the lab's before it.

    It lies among the lab's images, where `nicproof cache prune` removes it. MissingCapability for
    others than root: packages' scripts run in the new system, which is not done without.
    """
    if os.geteuid() != 0:
        raise MissingCapability("root", "a whole Debian is installed by root only")
    lab = ensure_image(progress=progress)
    recipe = _Recipe(distro, lab.identity, debian.mirror(), Path(__file__).read_text())
    image = DistroImage(images() / f"{distro.name}-{recipe.key}", lab=lab)
    with shown(SHARES, progress) as steps:

        def build(partial: Path) -> None:
            _build(distro, DistroImage(partial, lab=lab), steps)

        cache.ensure(image.directory, f"the image of {distro.name}", build, steps.say)
    return image


def _build(distro: Distro, image: DistroImage, steps: Steps) -> None:
    steps.step("installing a Debian", f"({distro.suite})")
    host = LocalHost()
    host.run(bootstrap_argv(distro, image), timeout=LIMIT)
    packages = host.run(("dpkg-query", f"--root={image.root}", "--show")).text
    (image.directory / "packages.txt").write_text(packages)
    steps.step("making its disk")
    disk.make_disk(image.root, image.disk)
    cache.remove_tree(image.root)
    keys = machine.make_keys(image.keys.directory)
    image.initrd.touch(mode=0o600)
    image.initrd.write_bytes(machine.initrd(image.lab.root, keys))


def bootstrap_argv(distro: Distro, image: DistroImage) -> tuple[str, ...]:
    """argv of mmdebstrap. The kernel is the lab's, so its modules are."""
    lab = image.lab.root
    config = next((lab / "boot").glob("config-*"))
    copies = ((lab / MODULES, f"/{Path(MODULES).parent}"), (config, "/boot"))
    return (
        # It mounts /proc, /sys and /dev into the tree; so they go with it however it ends.
        *("unshare", "--mount", "mmdebstrap", "--mode=root", "--variant=minbase"),
        *("--format=directory", "--architectures=amd64"),
        *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in LEFT_OUT),
        *(f"--customize-hook=copy-in {shlex.quote(str(path))} {to}" for path, to in copies),
        f"--customize-hook={FURNISH}{distro.furnish}",
        f"--include={','.join((*PACKAGES, *distro.packages))}",
        *(distro.suite, str(image.root), debian.mirror()),
    )
