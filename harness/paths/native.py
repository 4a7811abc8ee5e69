"""The VF used by the host itself, no guest: what the bare metal does with the same hardware."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.host.base import Host
from harness.inventory import PortPair
from harness.journal import Journal
from harness.netdev import answers_arp_only_for_itself
from harness.paths.base import NicAttachment, PathOptions
from harness.paths.parts import (
    Lack,
    guest_mac,
    lacks_module,
    lacks_permission,
    lacks_sriov,
    port_up,
)
from harness.paths.sriov import vf_driver
from harness.pci.binding import bound, driver_directory, wait_for_interface
from harness.pci.sriov import link_up, virtual_functions


@dataclass(frozen=True)
class NativePath:
    """One VF, bound to its driver on the host."""

    name: str = "native"
    summary: str = "a VF of the port, used by the host itself: the bare-metal reference"
    needs: tuple[str, ...] = ("SR-IOV", "the VF's driver")
    changes: tuple[str, ...] = (
        "PF set up, answering ARP for itself only; one VF made, its address set, bound to its "
        "driver, set up (all undone)",
    )

    def missing(self, host: Host, ports: PortPair) -> Lack | None:
        if lack := lacks_sriov(host, ports) or lacks_permission(host, ports, "bind"):
            return lack
        driver = vf_driver(host, ports.dut)
        return lacks_module(host, ports, driver, driver_directory(driver))

    @contextmanager
    def provision(
        self,
        host: Host,
        ports: PortPair,
        journal: Journal,
        options: PathOptions,  # noqa: ARG002
    ) -> Iterator[NicAttachment]:
        mac, driver = guest_mac(self.name), vf_driver(host, ports.dut)
        with (
            port_up(host, ports, journal) as port,
            answers_arp_only_for_itself(host, port, journal),
            virtual_functions(host, ports.dut, (mac,), journal) as (vf,),
            bound(host, vf, driver, journal),
        ):
            interface = wait_for_interface(host, vf)
            with link_up(host, interface, journal):
                yield NicAttachment(
                    path=self.name,
                    mac=mac,
                    driver=driver,
                    interface=interface,
                    host_interface=port,
                )
