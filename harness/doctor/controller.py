"""Can the nested lab run on this machine?"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from harness.core.units import MIB
from harness.core.xdg import cache_root
from harness.doctor.findings import Finding
from harness.hosts.base import Host
from harness.labs.nested import accel, image
from harness.labs.nested.cache import damage

IMAGE_MIB = 4000
"""Free disk that building the lab needs: tree, ext4 image and snapshot, with room to spare."""
LAB_MIB = 5000
"""Free memory that one lab needs: 4 GiB for L1, its snapshot in the page cache, QEMU."""


def controller(host: Host) -> tuple[Finding, ...]:
    """Everything that decides it, in the order in which it is read. `host` is this machine."""
    return (*_architecture(), *_tools(), *_resources(), _kvm(host))


def _architecture() -> tuple[Finding, ...]:
    machine = platform.machine()
    return (
        Finding(
            "architecture",
            "yes" if machine == "x86_64" else "no",
            machine,
            "the nested lab emulates x86-64 with the image's own x86-64 QEMU",
            needed=("nested lab",),
        ),
    )


def _tools() -> tuple[Finding, ...]:
    """The programs that building and reaching the lab take."""
    packages = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "ssh": "openssh-client"}
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    findings = []
    for program, package in packages.items():
        where = shutil.which(program, path=path)
        findings.append(
            Finding(
                program,
                "yes" if where else "no",
                where or "not installed",
                f"sudo apt-get install {package}",
                needed=("nested lab",),
            )
        )
    return tuple(findings)


def _resources() -> tuple[Finding, ...]:
    cache = cache_root()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    disk = shutil.disk_usage(there).free // MIB
    built = image.is_built()
    writable = there.is_dir() and os.access(there, os.W_OK)
    memory = available_mib()
    return (
        _image(),
        Finding(
            "cache",
            "yes" if built or writable else "no",
            f"{there} can be written to" if writable else f"{there} cannot be written to",
            "set XDG_CACHE_HOME to a directory of your own",
            needed=("nested lab",),
        ),
        Finding(
            "free disk",
            "yes" if built or disk >= IMAGE_MIB else "no",
            f"{disk} MiB under {there}",
            f"free {IMAGE_MIB} MiB, or set XDG_CACHE_HOME to a larger disk",
            needed=("nested lab",),
        ),
        Finding(
            "available memory",
            "yes" if memory >= LAB_MIB else "no",
            f"{memory} MiB",
            f"one lab takes about {LAB_MIB} MiB",
            needed=("nested lab",),
        ),
    )


def _image() -> Finding:
    found = image.current_image().directory
    if not image.is_built():
        return Finding("lab image", "note", "not built yet: `nicproof lab build`, or the first run")
    if lost := damage(found):
        return Finding("lab image", "note", f"damaged ({lost}): the next run makes it anew")
    return Finding("lab image", "yes", f"built, in {found}")


def available_mib() -> int:
    """This machine's MemAvailable of /proc/meminfo, in MiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def _kvm(host: Host) -> Finding:
    """KVM counts only if it boots a guest: a device node that opens proves nothing."""
    if not host.exists("/dev/kvm"):
        return Finding("KVM", "no", "no /dev/kvm: the nested lab runs under TCG (nested-tcg)")
    usable = accel.known_answer()
    if usable is None:
        return Finding(
            "KVM", "note", "/dev/kvm is there; whether it boots a guest is not known yet"
        )
    detail = "boots a guest" if usable else "/dev/kvm opens but boots no guest: the lab uses TCG"
    return Finding("KVM", "yes" if usable else "no", detail)
