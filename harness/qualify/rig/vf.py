"""VFs of the port under test, and where they are put to use: on the host or in a guest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.guest.boot import Guest
from harness.net.netdev import interface_with
from harness.paths.base import PathOptions
from harness.paths.parts import guest_mac
from harness.paths.passthrough import vfio_args
from harness.paths.sriov import vf_driver
from harness.pci.binding import bound, wait_for_interface
from harness.pci.group import assign_to_vfio
from harness.pci.namespace import in_namespace
from harness.pci.sriov import virtual_functions
from harness.qemu.attachment import NicAttachment
from harness.qualify.rig.node import READY_S, Node
from harness.qualify.rig.rig import Rig


@dataclass(frozen=True)
class Vf:
    """A VF. `mac` is the administrator's, set through the PF before any driver is bound."""

    index: int
    bdf: str
    mac: str

    @property
    def ip(self) -> str:
        return f"198.18.0.{10 + self.index}"

    @property
    def ip6(self) -> str:
        return f"2001:2::{10 + self.index:x}"

    @property
    def netns(self) -> str:
        return f"nicproof-vf{self.index}"


@contextmanager
def vfs(rig: Rig, count: int) -> Iterator[tuple[Vf, ...]]:
    """`count` VFs of the port, unbound; afterwards none, as before.

    MissingCapability if the port does not offer so many.
    """
    macs = tuple(guest_mac(f"vf{index}") for index in range(count))
    with virtual_functions(rig.host, rig.port.bdf, macs, rig.journal) as bdfs:
        yield tuple(
            Vf(index, bdf, mac) for index, (bdf, mac) in enumerate(zip(bdfs, macs, strict=True))
        )


@contextmanager
def on_host(rig: Rig, vf: Vf) -> Iterator[Node]:
    """The VF bound to its driver on the host, in a namespace of its own, addressed and up.

    In a namespace no frame for another VF of the host is short-circuited: it goes to the NIC.
    """
    driver = vf_driver(rig.host, rig.port.bdf)
    with ExitStack() as stack:
        stack.enter_context(bound(rig.host, vf.bdf, driver, rig.journal))
        wait_for_interface(rig.host, vf.bdf, seconds=READY_S)
        interface = stack.enter_context(in_namespace(rig.host, vf.bdf, vf.netns, rig.journal))
        node = Node(rig.host, vf.netns, interface, vf.mac, vf.ip, vf.ip6)
        node.address()
        node.await_carrier()
        yield node


@contextmanager
def for_guest(rig: Rig, vf: Vf, *, vfio: str = "") -> Iterator[NicAttachment]:
    """The VF bound to vfio-pci and described for a guest. `vfio` are further properties."""
    with assign_to_vfio(rig.host, vf.bdf, rig.journal):
        yield NicAttachment(
            path="sriov",
            mac=vf.mac,
            driver=vf_driver(rig.host, rig.port.bdf),
            device_args=vfio_args(vf.bdf, PathOptions(vfio=vfio)),
            host_interface=rig.port.interface,
        )


@contextmanager
def in_guests(
    rig: Rig, chosen: Sequence[Vf], name: str
) -> Iterator[tuple[tuple[Guest, Node], ...]]:
    """A guest for each VF, its interface addressed and up; with the VF in it as a node."""
    with ExitStack() as stack:
        found = []
        for vf in chosen:
            attachment = stack.enter_context(for_guest(rig, vf))
            guest = stack.enter_context(rig.booted(f"{name}-{vf.index}", (attachment,)))
            node = guest_node(guest, vf)
            node.address()
            node.await_carrier()
            found.append((guest, node))
        yield tuple(found)


def guest_node(guest: Guest, vf: Vf) -> Node:
    """The VF as it appears in a guest: found by its address, whatever the interface's name."""
    interface = interface_with(guest.host, vf.mac, seconds=READY_S)
    return Node(guest.host, "", interface, vf.mac, vf.ip, vf.ip6)
