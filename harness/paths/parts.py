"""What several paths share: checks of a host's capabilities, addresses, the PF made ready."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from harness.host.base import Host
from harness.inventory import PortPair
from harness.journal import Journal
from harness.pci import sriov
from harness.pci.device import Device

Lack = tuple[str, str]
"""(capability, why this host does not have it)."""


def guest_mac(path: str) -> str:
    """A locally administered address (IEEE 802, bit 1 of the first octet), fixed for a path."""
    digest = zlib.crc32(path.encode())
    return "02:6e:" + ":".join(f"{digest >> shift & 0xFF:02x}" for shift in (24, 16, 8, 0))


def lacks_kvm(host: Host) -> Lack | None:
    return None if host.exists("/dev/kvm") else ("KVM", f"{host.name} has no /dev/kvm")


def lacks_module(host: Host, module: str, shown_at: str) -> Lack | None:
    """Is there a kernel module, loaded (its trace at `shown_at`) or to be loaded?"""
    if host.exists(shown_at) or host.run(("modprobe", module), check=False).returncode == 0:
        return None
    return (f"kernel module {module}", f"{host.name}'s kernel has none")


def lacks_vfio(host: Host, bdf: str) -> Lack | None:
    if lack := lacks_module(host, "vfio-pci", "/sys/bus/pci/drivers/vfio-pci"):
        return lack
    if not Device(host, bdf).iommu_group:
        return ("IOMMU", f"{bdf} is in no IOMMU group: the IOMMU is off")
    return None


def lacks_sriov(host: Host, bdf: str) -> Lack | None:
    if sriov.total_vfs(host, bdf) == 0:
        return ("SR-IOV", f"{bdf} with driver {Device(host, bdf).driver or 'none'} offers no VFs")
    return None


@contextmanager
def port_up(host: Host, ports: PortPair, journal: Journal) -> Iterator[str]:
    """The port under test, up, by its interface's name. A VF is dead while its PF is down."""
    interface = Device(host, ports.dut).interface
    with sriov.link_up(host, interface, journal):
        yield interface
