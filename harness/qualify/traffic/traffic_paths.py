"""The ways that frames take through a port with VFs, as pairs of ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from harness.core.errors import MissingCapability, NotStarted
from harness.hosts.base import Host
from harness.net import firewall
from harness.net.managers import managing
from harness.qualify.rig.links import addressed_pf
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import in_guests, on_host, vfs

PF_IP, PF_IP6 = "198.18.0.3", "2001:2::3"
"""The PF's addresses while it is an end, beside those of the wire and of VFs."""

GUEST_LEGS = ("guest-wire",)
HOST_LEGS = ("vf-wire", "pf-vf", "vf-vf")
LEGS = (*GUEST_LEGS, *HOST_LEGS)


@dataclass(frozen=True)
class Leg:
    """`near` is a VF; `far` is always on the host: the link partner, the PF or another VF."""

    name: str
    near: Node
    far: Node

    @property
    def ways(self) -> tuple[tuple[Node, Node], ...]:
        """(source, destination), both ways."""
        return ((self.near, self.far), (self.far, self.near))


@contextmanager
def leg(rig: Rig, name: str) -> Iterator[Leg]:
    """One of LEGS, both ends addressed and up."""
    with ExitStack() as stack:
        made = stack.enter_context(vfs(rig, 2 if name == "vf-vf" else 1))
        if name == "guest-wire":
            ((_, near),) = stack.enter_context(in_guests(rig, made, "datapath"))
        else:
            near = stack.enter_context(on_host(rig, made[0]))
        if name == "pf-vf":
            far = stack.enter_context(pf_addressed(rig))
        elif name == "vf-vf":
            far = stack.enter_context(on_host(rig, made[1]))
        else:
            far = rig.wire
        yield Leg(name, near, far)


@contextmanager
def pf_addressed(rig: Rig) -> Iterator[Node]:
    """The PF as an end.

    MissingCapability if it is known that the host's firewall lets nothing come in there, or that a
    manager of networks would take the addresses away.
    """
    _require_let_in(rig.host, rig.port.interface)
    _require_left_alone(rig.host, rig.port.interface)
    with addressed_pf(rig, PF_IP, PF_IP6) as node:
        yield node


def _require_let_in(host: Host, interface: str) -> None:
    chains: tuple[firewall.Chain, ...] = ()
    with suppress(NotStarted):
        chains = firewall.dropping(host, interface)
    if chains:
        raise MissingCapability(
            "traffic to the PF",
            f"the host's firewall drops what comes in by {interface}: "
            f"{', '.join(map(str, chains))}",
            remedy="; ".join(each.accepting(interface) for each in chains),
        )


def _require_left_alone(host: Host, interface: str) -> None:
    for manager, _ in managing(host, (interface,)):
        raise MissingCapability(
            "traffic to the PF",
            f"{manager.name} manages {interface}, and takes away what addresses others give it",
            remedy=manager.keep_off((interface,)),
        )
