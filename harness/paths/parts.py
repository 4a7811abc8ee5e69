"""What several paths share: checks of a host's capabilities, addresses, the PF made ready."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.journal.modules import unavailable
from harness.journal.permissions import Permission, denied
from harness.pci import sriov
from harness.pci.binding import driver_directory
from harness.pci.device import Device
from harness.pci.group import group_to_hold, others

UnmetRequirement = tuple[str, str]
"""(capability, why this host does not have it)."""


def guest_mac(path: str) -> str:
    """A locally administered address (IEEE 802, bit 1 of the first octet), fixed for a path."""
    digest = zlib.crc32(path.encode())
    return "02:6e:" + ":".join(f"{digest >> shift & 0xFF:02x}" for shift in (24, 16, 8, 0))


REMEDIES = {
    "KVM": "modprobe kvm_intel or kvm_amd there; nicproof doctor HOST says what else it takes",
    "IOMMU": "nicproof persist HOST prints what switches it on from the boot on",
    "SR-IOV": "give the port back to its own driver, and switch SR-IOV on in BIOS and firmware",
}


def remedy_for(capability: str) -> str:
    """How to come by what `missing` says is lacking."""
    kind, _, which = capability.rpartition(" ")
    if kind == "permission":
        loaded = "; modules: or modprobe them yourself, nicproof persist HOST makes that last"
        return f'add "{which}" to `may` of the host{loaded * (which == "modules")}'
    if kind == "kernel module":
        return "install the package of all modules there, such as linux-modules-extra-$(uname -r)"
    return REMEDIES.get(capability, "nicproof doctor HOST says what is missing there")


def unmet_kvm(host: Host) -> UnmetRequirement | None:
    return None if host.exists("/dev/kvm") else ("KVM", f"{host.name} has no /dev/kvm")


def unmet_permission(
    host: Host, ports: PortPair, permission: Permission
) -> UnmetRequirement | None:
    return None if permission in ports.may else denied(host.name, permission)


def unmet_module(
    host: Host, ports: PortPair, module: str, shown_at: str
) -> UnmetRequirement | None:
    """Is there a kernel module, loaded (its trace at `shown_at`) or to be loaded?"""
    return None if host.exists(shown_at) else unavailable(host, module, ports.may)


def unmet_vfio(host: Host, ports: PortPair) -> UnmetRequirement | None:
    if unmet := unmet_permission(host, ports, "bind"):
        return unmet
    if unmet := unmet_module(host, ports, "vfio-pci", driver_directory("vfio-pci")):
        return unmet
    if not Device(host, ports.dut).iommu_group:
        return ("IOMMU", f"{ports.dut} is in no IOMMU group: the IOMMU is off")
    return None


def unmet_group(host: Host, ports: PortPair) -> UnmetRequirement | None:
    """Can the port be handed over, and its IOMMU group with it?"""
    if not set(ports.here).isdisjoint(others(host, ports.dut)):
        why = "its link partner shares its IOMMU group, which is handed over as a whole"
        return (f"isolation of {ports.dut}", why)
    hold = ports.binding.hold
    try:
        held = group_to_hold(host, ports.dut, ports.binding)
    except MissingCapability as unmet:
        return (unmet.capability, unmet.why)
    return unmet_module(host, ports, hold, driver_directory(hold)) if held else None


def unmet_sriov(host: Host, ports: PortPair) -> UnmetRequirement | None:
    if unmet := unmet_permission(host, ports, "sriov"):
        return unmet
    bdf = ports.dut
    if sriov.total_vfs(host, bdf) == 0:
        return ("SR-IOV", f"{bdf} with driver {Device(host, bdf).driver or 'none'} offers no VFs")
    return None


@contextmanager
def port_up(host: Host, ports: PortPair, journal: Journal) -> Iterator[str]:
    """The port under test, up, by its interface's name. A VF is dead while its PF is down."""
    interface = Device(host, ports.dut).interface
    with sriov.link_up(host, interface, journal):
        yield interface
