"""Interfaces of the rig that a case disturbs, and that are afterwards as they were."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from harness.journal.journal import UndoCommand
from harness.net.netdev import link
from harness.qualify.rig.node import PREFIX6, Node
from harness.qualify.rig.rig import Rig


def pf_node(rig: Rig) -> Node:
    """The PF under test as a node; it has no addresses."""
    interface = rig.port.interface
    return Node(rig.host, "", interface, link(rig.host, interface).address, "", "")


@contextmanager
def addressed_pf(rig: Rig, ip: str, ip6: str) -> Iterator[Node]:
    """The PF as an end of traffic: addressed, in the host's own namespace; afterwards without
    these addresses."""
    node = replace(pf_node(rig), ip=ip, ip6=ip6)
    undo = tuple(
        UndoCommand(
            ("ip", "address", "flush", "dev", node.interface, "to", address), when=_there(node)
        )
        for address in (ip, ip6)
    )
    with rig.journal.change(f"addressed {node.interface}", undo):
        node.address()
        yield node


@contextmanager
def up_afterwards(rig: Rig, node: Node) -> Iterator[None]:
    """The interface may be set down and up; afterwards it is up, with the IPv6 address that it
    loses whenever it goes down."""
    inside = _ip(node)
    undo = [UndoCommand((*inside, "link", "set", node.interface, "up"), when=_there(node))]
    if node.ip6:
        address = ("address", "replace", f"{node.ip6}/{PREFIX6}", "dev", node.interface, "nodad")
        undo.append(UndoCommand((*inside, "-6", *address), when=_there(node)))
    with rig.journal.change(f"set {node.place} down and up", undo):
        yield


def link_mtu(node: Node) -> int:
    """The interface's MTU in bytes."""
    return int(node.run(("cat", f"/sys/class/net/{node.interface}/mtu")).text)


def bdf_of(node: Node) -> str:
    """The PCI address of the interface, as the node's own machine has it."""
    device = f"/sys/class/net/{node.interface}/device"
    return posixpath.basename(node.run(("readlink", device)).text.strip())


def _ip(node: Node) -> tuple[str, ...]:
    return ("ip", "-n", node.netns) if node.netns else ("ip",)


def _there(node: Node) -> str:
    """A path that exists as long as the interface's place does."""
    return f"/run/netns/{node.netns}" if node.netns else f"/sys/class/net/{node.interface}"
