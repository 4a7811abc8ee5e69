"""The micro guest: the kernel under test and just enough user space to measure with."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.core.errors import ConfigError, LabError
from harness.guest.image import cpio, initramfs
from harness.guest.image.kernel import uncompressed
from harness.guest.image.modules import KernelTree
from harness.guest.image.python import python
from harness.hosts.base import Host
from harness.qemu.config import DeployedImage, DiskImage

PIECE = 64 << 20
"""Bytes that one command carries to a host."""

QCOW2_MAGIC = b"QFI\xfb"

DRIVERS = ("virtio_console", "virtio_pci")
"""Those of the guest's agent. Of NICs it has what the paths ask for."""

PROGRAMS = (
    "usr/bin/dash",
    "usr/bin/env",
    "usr/bin/ip",
    "usr/bin/iperf3",
    "usr/bin/setsid",
    "usr/bin/taskset",
    "usr/bin/timeout",
    "usr/bin/xargs",
    "usr/sbin/ethtool",
    "usr/sbin/qemu-ga",
)
"""Python apart. Among them everything that starts other programs: busybox's own, its shell
included, would run its applet `ip` although the PATH leads to the real one."""

MODULES = (
    "__future__",
    "ctypes",
    "json",
    "os",
    "select",
    "signal",
    "socket",
    "struct",
    "sys",
    "time",
)
"""What our programs that run in a guest may import of Python's library, beside what is built into
the interpreter, such as array, errno, fcntl and gc."""

APPLETS = """
    awk basename cat chmod cp cut date dd df dirname dmesg echo expr false find free grep
    gunzip gzip head hostname id insmod kill killall ln ls lsmod md5sum mkdir mknod modinfo
    modprobe mount mv nproc pidof ping ping6 poweroff printf ps pwd readlink realpath
    reboot rm rmdir rmmod sed seq sha256sum sleep sort stat sync sysctl tail tar
    tee test touch tr true truncate umount uname uniq uptime vi wc which
    zcat
"""

INIT = r"""#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# Empty where virtio_console is built in, as in Debian's kernel.
[ -d /sys/class/virtio-ports ] || modprobe virtio_console
# There is no udev to name the port, so it is looked up.
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name"
    [ "$name" = org.qemu.guest_agent.0 ] || continue
    qemu-ga --method=virtio-serial --path="/dev/${port##*/}" --statedir=/run &
done
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
# Only what the devices that are there call for.
cat /sys/bus/pci/devices/*/modalias | xargs modprobe -aq
cat /sys/bus/virtio/devices/*/modalias | xargs modprobe -aq
ip link set lo up
while :; do wait; sleep 3600; done
"""

SHUTDOWN = r"""#!/bin/sh
# What the guest agent calls; everything here lives in memory, so there is nothing to save.
case " $* " in
*" -r "*) exec reboot -f ;;
*) exec poweroff -f ;;
esac
"""


CONSOLE = "console=ttyS0 8250.nr_uarts=1 quiet panic=-1"
"""Few characters: each is an exit. A panic is printed all the same, and ends QEMU (-no-reboot)."""

SELF_TESTS = "cryptomgr.notests initcall_blacklist=jent_mod_init,crypto_kdf108_init,cmos_init"
"""Self-tests of cryptography, a sixth of an emulated boot, and waiting for the CMOS clock's next
second. Nothing that carries packets is left out, and mitigations stay as the kernel chooses them,
since both are part of what is measured."""

PCI = "pci=lastbus=0"
"""Do not ask 255 buses for root bridges that ACPI does not tell of: each of the 8,160 questions is
two VM exits, two thirds of all exits of a boot."""

APPEND = f"{CONSOLE} {SELF_TESTS} {PCI}"

CACHE = "/var/cache/nicproof"
"""Where images lie on a host."""


@dataclass(frozen=True)
class GuestImage:
    """A built micro guest on the controller. `key` names its content."""

    key: str
    kernel: Path
    initrd: Path


def build_guest_image(root: Path, out: Path, drivers: Sequence[str]) -> GuestImage:
    """Build the micro guest from a Debian root tree into `out` (made if need be), with these
    drivers of NICs, kernel modules.

    Raises LabError naming what the tree lacks. The same tree gives the same bytes.
    """
    tree = KernelTree.find(root)
    packed = tree.image.read_bytes()
    kernel = uncompressed(root, packed) or packed
    initrd = cpio.pack(_content(root, tree, drivers))
    key = hashlib.sha256(hashlib.sha256(kernel).digest() + initrd).hexdigest()[:16]
    out.mkdir(parents=True, exist_ok=True)
    built = GuestImage(key, out / "kernel", out / "initrd")
    built.kernel.write_bytes(kernel)
    built.initrd.write_bytes(initrd)
    return built


def installed(key: str, cache: str = CACHE) -> DeployedImage:
    """Where the micro guest `key` lies on a host that has it (the lab's image has it baked in)."""
    directory = f"{cache}/guest-{key}"
    return DeployedImage(f"{directory}/kernel", f"{directory}/initrd", APPEND)


def deploy(host: Host, image: GuestImage, cache: str = CACHE) -> DeployedImage:
    """Put the micro guest on `host` unless it is there already."""
    there = installed(image.key, cache)
    for source, path in ((image.kernel, there.kernel), (image.initrd, there.initrd)):
        if not host.exists(path):
            _copy(host, source, path)
    return there


def deploy_disk(host: Host, image: Path, cache: str = CACHE) -> DiskImage:
    """Put a disk image on `host` unless one with the same content is there already.

    Raises ConfigError if it cannot be read.
    """
    try:
        with image.open("rb") as file:
            kind: Literal["qcow2", "raw"] = "qcow2" if file.read(4) == QCOW2_MAGIC else "raw"
            file.seek(0)
            key = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ConfigError(f"guest image {image}: {error.strerror}") from error
    path = f"{cache}/disk-{key}.{kind}"
    if not host.exists(path):
        _copy(host, image, path)
    return DiskImage(path, kind)


def _copy(host: Host, source: Path, path: str) -> None:
    """Copy in pieces, under another name until it is complete."""
    host.run(("mkdir", "-p", posixpath.dirname(path)))
    part = f"{path}.{uuid.uuid4().hex}.part"
    try:
        with source.open("rb") as file:
            while piece := file.read(PIECE):
                append = ("dd", f"of={part}", "bs=1M", "conv=notrunc", "oflag=append")
                host.run(append, stdin=piece, timeout=300.0)
        host.run(("mv", part, path))
    except BaseException:
        with suppress(LabError):
            host.run(("rm", "-f", part))
        raise


def _content(root: Path, kernel: KernelTree, drivers: Sequence[str]) -> Iterator[cpio.Entry]:
    yield from initramfs.skeleton()
    yield from initramfs.busybox(root, APPLETS.split())
    yield from initramfs.programs(root, PROGRAMS)
    yield from python(root, MODULES)
    yield from initramfs.modules(kernel, (*DRIVERS, *drivers))
    yield cpio.symlink("usr/bin/sh", "dash")
    yield cpio.file("init", INIT.encode(), 0o755)
    yield cpio.file("usr/sbin/shutdown", SHUTDOWN.encode(), 0o755)
    yield cpio.symlink("etc/mtab", "/proc/self/mounts")
    yield cpio.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    yield cpio.file("etc/group", b"root:x:0:\n")
