"""A VF given to the guest by vfio-pci: its BARs are mapped, its DMA goes through the IOMMU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.facts import PathFacts
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.paths.base import PathOptions
from harness.paths.parts import (
    UnmetRequirement,
    guest_mac,
    port_up,
    unmet_kvm,
    unmet_sriov,
    unmet_vfio,
)
from harness.paths.passthrough import vfio_args
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.pci.profiles import vf_drivers
from harness.pci.sriov import virtual_functions
from harness.qemu.attachment import NicAttachment


@dataclass(frozen=True)
class SriovPath:
    """One VF, through vfio-pci."""

    name: str = "sriov"
    summary: str = "a VF of the port, through vfio-pci"
    facts: PathFacts = PathFacts(kind="vf", colour="#009e73")
    usual: bool = True
    has_guest: bool = True
    varies: tuple[str, ...] = ("vfio", "rx_usecs")
    needs: tuple[str, ...] = ("KVM", "SR-IOV", "IOMMU", "kernel module vfio-pci")
    changes: tuple[str, ...] = (
        "PF set up; one VF made, its address set, bound to vfio-pci (all undone)",
    )

    @property
    def guest_drivers(self) -> tuple[str, ...]:
        return vf_drivers()

    def missing(self, host: Host, ports: PortPair) -> UnmetRequirement | None:
        return unmet_kvm(host) or unmet_sriov(host, ports) or unmet_vfio(host, ports)

    @contextmanager
    def provision(
        self, host: Host, ports: PortPair, journal: Journal, options: PathOptions
    ) -> Iterator[NicAttachment]:
        mac = guest_mac(self.name)
        with (
            port_up(host, ports, journal) as port,
            virtual_functions(host, ports.dut, (mac,), journal) as (vf,),
            assign_to_vfio(host, vf, journal),
        ):
            yield NicAttachment(
                path=self.name,
                mac=mac,
                driver=vf_driver(host, ports.dut),
                device_args=vfio_args(vf, options),
                host_interface=port,
            )


def vf_driver(host: Host, pf: str) -> str:
    """The driver that a VF of `pf` will have, wherever it is used."""
    device = Device(host, pf)
    known = device.profile.vf.driver
    return known.value if known else f"{device.driver}vf"
