"""`nicproof doctor`: what this machine can and cannot do, and how to mend it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.host.base import Host
from harness.host.local import LocalHost
from harness.lab import accel, image
from harness.lab.cache import cache_root
from harness.pci import sriov
from harness.pci.device import ROOT, Device
from harness.units import MIB

State = Literal["yes", "no", "note"]

IMAGE_MIB = 4000
"""Free disk that building the lab needs: tree, ext4 image and snapshot, with room to spare."""
LAB_MIB = 5000
"""Free memory that one lab needs: 4 GiB for L1, its snapshot in the page cache, QEMU."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed` ones decide whether the nested lab can run here."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    needed: bool = False


def examine(host: Host) -> tuple[Finding, ...]:
    """Everything doctor says of this machine, in the order in which it is read."""
    return (*_controller(), *_tools(), *_resources(), _kvm(host), _iommu(host), *_ports(host))


def _controller() -> tuple[Finding, ...]:
    machine = platform.machine()
    return (
        Finding(
            "architecture",
            "yes" if machine == "x86_64" else "no",
            machine,
            "the nested lab emulates x86-64 with the image's own x86-64 QEMU",
            needed=True,
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
                needed=True,
            )
        )
    return tuple(findings)


def _resources() -> tuple[Finding, ...]:
    cache = cache_root()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    disk = shutil.disk_usage(there).free // MIB
    built = image.is_built()
    memory = _available_memory()
    return (
        Finding(
            "lab image",
            "yes" if built else "note",
            f"built, in {cache}" if built else "not built yet: the first `make bench` does it",
        ),
        Finding(
            "free disk",
            "yes" if built or disk >= IMAGE_MIB else "no",
            f"{disk} MiB under {there}",
            f"free {IMAGE_MIB} MiB, or set XDG_CACHE_HOME to a larger disk",
            needed=True,
        ),
        Finding(
            "available memory",
            "yes" if memory >= LAB_MIB else "no",
            f"{memory} MiB",
            f"one lab takes about {LAB_MIB} MiB",
            needed=True,
        ),
    )


def _available_memory() -> int:
    """MemAvailable of /proc/meminfo, in MiB."""
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


def _iommu(host: Host) -> Finding:
    groups = len(host.glob("/sys/kernel/iommu_groups/*"))
    return Finding(
        "IOMMU",
        "yes" if groups else "no",
        f"{groups} groups" if groups else "off: no passthrough on this machine itself",
        "switch VT-d or AMD-Vi on in the firmware; Intel: add intel_iommu=on to the kernel's line",
    )


def _ports(host: Host) -> tuple[Finding, ...]:
    """NICs of this machine that nicproof knows."""
    findings = []
    for path in host.glob(f"{ROOT}/*"):
        device = Device(host, Path(path).name)
        profile = device.profile
        if not profile.generic and not device.pf:
            vfs = sriov.total_vfs(host, device.bdf)
            detail = f"{device.bdf}, driver {device.driver or 'none'}, {vfs} VFs offered"
            findings.append(Finding(f"NIC {profile.model}", "yes", detail))
    if findings:
        return tuple(findings)
    return (Finding("NIC", "note", "no 82576, I350, 82599 or X540 here: use the nested lab"),)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `nicproof doctor`."""
    parser = commands.add_parser(
        "doctor",
        help="what this machine can and cannot do",
        description="Look at this machine and say what it can and cannot do. "
        "Exit status 0: the nested lab can run here; 1: it cannot.",
        epilog="examples:\n  nicproof doctor\n  nicproof doctor --json | jq '.[].name'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(handler=run)


def run(given: argparse.Namespace) -> int:
    """Handler of `nicproof doctor`: print the findings, return the exit status."""
    findings = examine(LocalHost())
    ready = all(finding.state != "no" for finding in findings if finding.needed)
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        _print(findings, ready)
    return 0 if ready else 1


def _print(findings: tuple[Finding, ...], ready: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    marks = {"yes": "[green]yes[/]", "no": "[red]no[/]", "note": "[yellow]note[/]"}
    for finding in findings:
        remedy = finding.remedy if finding.state == "no" else ""
        table.add_row(marks[finding.state], finding.name, finding.detail, remedy)
    console = Console()
    console.print(table)
    console.print(
        "The nested lab can run here." if ready else "The nested lab cannot run here yet."
    )
