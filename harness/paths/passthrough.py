"""The whole PF given to the guest by vfio-pci."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.facts import PathFacts
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.net.netdev import link
from harness.paths.base import PathOptions
from harness.paths.parts import UnmetRequirement, unmet_group, unmet_kvm, unmet_vfio
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.pci.profiles import pf_drivers
from harness.pci.sriov import require_no_vfs
from harness.qemu.attachment import NicAttachment


@dataclass(frozen=True)
class PassthroughPath:
    """The port itself, through vfio-pci."""

    name: str = "passthrough"
    summary: str = "the whole PF, through vfio-pci"
    facts: PathFacts = PathFacts(kind="passthrough", colour="#cc79a7")
    usual: bool = True
    has_guest: bool = True
    varies: tuple[str, ...] = ("vfio",)
    needs: tuple[str, ...] = ("KVM", "IOMMU", "kernel module vfio-pci")
    changes: tuple[str, ...] = (
        "PF bound to vfio-pci, the rest of its IOMMU group to pci-stub (undone: back to their "
        "drivers)",
    )

    @property
    def guest_drivers(self) -> tuple[str, ...]:
        return pf_drivers()

    def missing(self, host: Host, ports: PortPair) -> UnmetRequirement | None:
        return unmet_kvm(host) or unmet_vfio(host, ports) or unmet_group(host, ports)

    @contextmanager
    def provision(
        self, host: Host, ports: PortPair, journal: Journal, options: PathOptions
    ) -> Iterator[NicAttachment]:
        require_no_vfs(host, ports.dut)
        device = Device(host, ports.dut)
        mac, driver = link(host, device.interface).address, device.driver
        with assign_to_vfio(host, ports.dut, journal):
            yield NicAttachment(
                path=self.name,
                mac=mac,
                driver=driver,
                device_args=vfio_args(ports.dut, options),
            )


def vfio_args(bdf: str, options: PathOptions) -> tuple[str, ...]:
    """QEMU's arguments that give the function `bdf` to the guest."""
    properties = f",{options.vfio}" if options.vfio else ""
    return ("-device", f"vfio-pci,host={bdf},rombar=0{properties}")
