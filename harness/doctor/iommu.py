"""Is DMA of a guest's device confined to the guest, and its interrupts too?"""

from __future__ import annotations

import re
from collections.abc import Collection

from harness.core.errors import NotStarted
from harness.doctor.facts import names, output_of, text
from harness.doctor.findings import GUESTS, Finding
from harness.hosts.base import Host
from harness.pci.device import Device
from harness.pci.group import others

GROUPS = "/sys/kernel/iommu_groups"
TABLES = {"DMAR": "VT-d", "IVRS": "AMD-Vi"}
"""ACPI tables by which firmware tells of an IOMMU."""

UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"


def iommu(host: Host) -> tuple[Finding, ...]:
    """The IOMMU and interrupt remapping. Nothing is said of the latter without the former."""
    groups = len(host.glob(f"{GROUPS}/*")) - without_iommu(host)
    found = judge_iommu(groups, told_by_firmware(host), names(host, "/sys/class/iommu/*"))
    if not groups:
        return (found,)
    log = kernel_log(host)
    interrupts = text(host, "/proc/interrupts")
    return (found, judge_remapping(interrupts, text(host, UNSAFE), log))


def kernel_log(host: Host) -> str:
    """What the kernel said; nothing if it cannot be had, and so nothing follows from that."""
    try:
        return output_of(host, ("dmesg",)) or ""
    except NotStarted:
        return ""


NO_IOMMU = "vfio-noiommu"
"""The name of a group that vfio makes for a device where there is no IOMMU at all, if it is told to
(enable_unsafe_noiommu_mode; drivers/vfio/group.c)."""


def without_iommu(host: Host) -> int:
    """How many groups are none of an IOMMU."""
    return sum(text(host, path) == NO_IOMMU for path in host.glob(f"{GROUPS}/*/name"))


def told_by_firmware(host: Host) -> tuple[str, ...]:
    """Those of TABLES that the host's firmware has."""
    return tuple(each for each in TABLES if host.exists(f"/sys/firmware/acpi/tables/{each}"))


def judge_iommu(groups: int, tables: tuple[str, ...], units: tuple[str, ...]) -> Finding:
    """Groups exist exactly if the kernel uses an IOMMU."""
    firmware = " and ".join(f"{TABLES[each]} ({each} table)" for each in tables)
    if groups:
        by = f", by {', '.join(units)}" if units else ""
        detail = f"on: {groups} groups{by}" + (f", {firmware} in the firmware" if firmware else "")
        return Finding("IOMMU", "yes", detail, needed=GUESTS)
    if firmware:
        detail = f"off in the kernel, though the firmware has {firmware}"
        remedy = "kernel command line: iommu=pt, for Intel intel_iommu=on, too; no amd_iommu=off"
    else:
        detail = "off: the firmware tells of none (no DMAR or IVRS table)"
        remedy = (
            "switch VT-d (Intel) or IOMMU (AMD) on in the BIOS; Intel: add intel_iommu=on iommu=pt "
            "to the kernel's command line"
        )
    return Finding("IOMMU", "no", detail, remedy, GUESTS)


def judge_remapping(interrupts: str, unsafe: str, kernel_log: str) -> Finding:
    """By the names of interrupt controllers in /proc/interrupts: remapped ones begin with "IR-"
    (arch/x86/kernel/apic/io_apic.c and msi.c). Unlike the kernel's log they do not get lost."""
    controllers = re.findall(r"(?:^|\s)((?:IR-)?(?:IO-APIC|PCI-MSI)\S*)", interrupts)
    remapped = sum(each.startswith("IR-") for each in controllers)
    name = "interrupt remapping"
    if remapped:
        detail = f"on: {remapped} of {len(controllers)} interrupts are remapped"
        return Finding(name, "yes", detail, needed=GUESTS)
    if not controllers:
        return Finding(name, "note", "/proc/interrupts shows no interrupts of devices")
    why = why_not_remapped(kernel_log)
    detail = "off" + (f"; the kernel's log: {why}" if why else "")
    if unsafe == "Y":
        detail += "; vfio was told to do without, so a guest can send any interrupt to the host"
        return Finding(name, "note", detail, f"echo N > {UNSAFE}")
    remedy = "switch it on with VT-d or AMD-Vi in the BIOS, and boot without intremap=off"
    if ERRATUM in why:
        remedy = "take another board: the kernel does not switch it on with this chipset"
    remedy += f"; in a lab that trusts its guests: echo Y > {UNSAFE}"
    return Finding(name, "no", detail, remedy, GUESTS)


ERRATUM = "erratum"
"""In what the kernel says of the chipsets 5500 and 5520 (irq_remapping.c, intel)."""


def why_not_remapped(kernel_log: str) -> str:
    """What the kernel says of it: the first line of its IOMMU's driver, with those that go on from
    it, else the last of anybody, which may be but a consequence."""
    entries = re.sub(r"\n[ \t]+(?=\S)", " ", kernel_log).splitlines()
    lines = [each.strip() for each in entries if re.search(r"remapping|[Xx]2apic", each)]
    causes = [each for each in lines if re.search(r"\b(?:DMAR(?:-IR)?|AMD-Vi): ", each)]
    return causes[0] if causes else lines[-1] if lines else ""


def reserved(host: Host, bdf: str, group: str) -> tuple[Finding, ...]:
    """Memory that the firmware keeps for a port's DMA (an RMRR of VT-d): vfio refuses such a group
    (device_rmrr_is_relaxable in drivers/iommu/intel/iommu.c)."""
    regions = text(host, f"{GROUPS}/{group}/reserved_regions").splitlines()
    direct = [line.split() for line in regions if line.split()[2:] == ["direct"]]
    if not direct:
        return ()
    start, end, _ = direct[0]
    detail = f"the firmware reserves {start}-{end} for it (RMRR), so vfio refuses it"
    remedy = (
        "switch that off in the firmware (HPE: conrep or the option ROM's shared memory features "
        "of that slot), or take another slot or board"
    )
    return (Finding(f"reserved memory of {bdf}", "no", detail, remedy, GUESTS),)


def isolation(host: Host, bdf: str, group: str, listed: Collection[str] = ()) -> Finding:
    """Who else is in the IOMMU group of a port. The group goes to a guest as a whole: those that
    are `listed`, by BDF, can be held still meanwhile."""
    name, found = f"isolation of {bdf}", others(host, bdf)
    if not found:
        return Finding(name, "yes", f"alone in IOMMU group {group}", needed=GUESTS)
    shown = ", ".join(f"{each} ({Device(host, each).driver or 'no driver'})" for each in found)
    detail = f"IOMMU group {group} has also {shown}"
    if set(found) <= set(listed):
        return Finding(name, "yes", f"{detail}, held meanwhile", needed=GUESTS)
    return Finding(
        name,
        "no",
        detail,
        "another slot, whose root port has ACS; ACS on in the BIOS, if it has such an option; or "
        "list them in the inventory, if nobody needs them",
        GUESTS,
    )
