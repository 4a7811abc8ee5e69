"""The VF used by the host itself, no guest: what the bare metal does with the same hardware."""

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
    unmet_module,
    unmet_permission,
    unmet_sriov,
)
from harness.paths.sriov import vf_driver
from harness.pci.binding import bound, driver_directory, wait_for_interface
from harness.pci.namespace import in_namespace
from harness.pci.sriov import virtual_functions
from harness.qemu.attachment import NicAttachment

NETNS = "nicproof-native"
"""As the link partner's port, the VF is in a namespace of its own: no firewall of the host's drops
what comes in, no manager of networks sends anything, and the way out is the cable."""


@dataclass(frozen=True)
class NativePath:
    """One VF, bound to its driver on the host."""

    name: str = "native"
    summary: str = "a VF of the port, used by the host itself: the bare-metal reference"
    facts: PathFacts = PathFacts(kind="native", colour="#2c2c2b")
    usual: bool = True
    has_guest: bool = False
    guest_drivers: tuple[str, ...] = ()
    varies: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("SR-IOV", "the VF's driver")
    changes: tuple[str, ...] = (
        "PF set up; one VF made, its address set, bound to its driver, its interface moved to "
        f"namespace {NETNS} (all undone)",
    )

    def missing(self, host: Host, ports: PortPair) -> UnmetRequirement | None:
        if unmet := unmet_sriov(host, ports) or unmet_permission(host, ports, "bind"):
            return unmet
        driver = vf_driver(host, ports.dut)
        return unmet_module(host, ports, driver, driver_directory(driver))

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
            virtual_functions(host, ports.dut, (mac,), journal) as (vf,),
            bound(host, vf, driver, journal),
        ):
            wait_for_interface(host, vf)
            with in_namespace(host, vf, NETNS, journal) as interface:
                yield NicAttachment(
                    path=self.name,
                    mac=mac,
                    driver=driver,
                    interface=interface,
                    netns=NETNS,
                    host_interface=port,
                )
