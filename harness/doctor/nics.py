"""The NICs of a host: are they what they should be, offer VFs, and are free?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from harness.core.errors import ConfigError, LabError, RunOver
from harness.doctor.facts import text
from harness.doctor.findings import GUESTS, Finding, lacking
from harness.doctor.iommu import isolation, reserved
from harness.hosts.base import Host
from harness.inventory import HostSpec
from harness.labs.real.discover import Port, port_at, ports
from harness.pci.device import ROOT
from harness.pci.extended import Sriov
from harness.pci.profiles import models


def nics(host: Host, spec: HostSpec | None = None) -> tuple[Finding, ...]:
    """Of the ports that the inventory lists all must be fit; without one, a single known one."""
    try:
        return tuple(_listed(host, spec) if spec and spec.ports else _found(host))
    except RunOver:
        raise
    except LabError as error:
        return (Finding("NICs", "no", error.message, error.remedy, GUESTS),)


def _listed(host: Host, spec: HostSpec) -> Iterator[Finding]:
    models = {port.bdf: port.model for port in spec.ports}
    for bdf in sorted(spec.touchable):
        try:
            port = port_at(host, bdf)
        except ConfigError as error:
            yield Finding(f"NIC {bdf}", "no", error.message, error.remedy, GUESTS)
            continue
        wanted = models.get(bdf, "")
        if wanted and port.model != wanted:
            detail = f"{port.model}, the inventory says {wanted}"
            yield Finding(f"NIC {bdf}", "no", detail, "lspci -D -nn shows the addresses", GUESTS)
        yield from judge(host, port, spec.touchable - spec.partners_of(bdf))


def _found(host: Host) -> Iterator[Finding]:
    there = ports(host)
    if not there:
        yield Finding("NIC", "no", f"no {models()} here", "use the nested lab", GUESTS)
        return
    found = {port.bdf: tuple(judge(host, port)) for port in there if isinstance(port, Port)}
    for each in there:
        if not isinstance(each, Port):
            yield Finding(f"NIC {each.address}", "no", each.why, each.remedy)
    for findings in found.values():
        yield from (replace(each, needed=()) for each in findings)
    fit = [
        bdf
        for bdf, findings in found.items()
        if not any(lacking(findings, purpose) for purpose in GUESTS)
    ]
    detail = ", ".join(fit) or "none of those above"
    remedy = "mend what is said of one of them; an inventory says which ones count"
    yield Finding("a port to test", "yes" if fit else "no", detail, remedy, GUESTS)


def judge(host: Host, port: Port, listed: Collection[str] = ()) -> Iterator[Finding]:
    """All that can be said of one port; `listed` are those that may be held beside it."""
    running = port.found.running
    firmware = running.abilities.firmware if running and running.abilities else ""
    facts = (
        f"driver {(running and running.driver) or 'none'}",
        f"interface {port.interface or 'none'}",
        f"firmware {firmware or 'unknown'}",
        f"NUMA node {'none' if port.numa is None else port.numa}",
    )
    yield Finding(f"NIC {port.bdf}", "yes", f"{port.model}: {', '.join(facts)}")
    yield from _sriov(host, port)
    if running and running.iommu_group:
        yield isolation(host, port.bdf, running.iommu_group, listed)
        yield from reserved(host, port.bdf, running.iommu_group)
    yield Finding(
        f"use of {port.bdf}",
        "yes" if port.free else "no",
        "; ".join((*port.verdict.refusals, *port.verdict.warnings)) or "nobody uses it",
        "free it, or take another port",
        GUESTS,
    )


VF_BARS = slice(7, 13)
"""Lines of sysfs' `resource`: PCI_IOV_RESOURCES follow six BARs and the ROM (linux/pci.h)."""


def has_room_for_vfs(resource: str) -> bool:
    """From sysfs' `resource`: a line a range, "start end flags". Where firmware or kernel found no
    address for the VFs' BARs all of theirs are zero, and SR-IOV cannot be switched on."""
    lines = resource.splitlines()[VF_BARS]
    return not lines or any(int(word, 16) for line in lines for word in line.split())


def _sriov(host: Host, port: Port) -> Iterator[Finding]:
    """Told by sriov_totalvfs: what the device has, less what its driver keeps."""
    offered = (port.found.running and port.found.running.total_vfs) or 0
    name = f"SR-IOV of {port.bdf}"
    if offered and not has_room_for_vfs(text(host, f"{ROOT}/{port.bdf}/resource")):
        detail = f"{offered} VFs offered, and no addresses for their BARs"
        remedy = (
            "SR-IOV and Above 4G Decoding on in the BIOS; or pci=realloc on the kernel's command "
            "line (dmesg: not enough MMIO resources for SR-IOV)"
        )
        yield Finding(name, "no", detail, remedy, ("SR-IOV",))
    elif offered:
        yield Finding(name, "yes", f"{offered} VFs offered", needed=("SR-IOV",))
    elif port.profile.vfs is not None:
        config = port.found.config
        hidden = config.shows(Sriov) and config.find(Sriov) is None
        detail = (
            "no SR-IOV capability in its configuration space: it is off in the NIC's firmware"
            if hidden
            else "no VFs offered: SR-IOV is off in the BIOS or the NIC's firmware"
        )
        remedy = "switch SR-IOV on in the BIOS; for the NIC itself: BootUtil, or its setup at boot"
        yield Finding(name, "no", detail, remedy, ("SR-IOV",))
