"""Settings of an interface that a case changes for a while, and waiting until traffic goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, MissingCapability
from harness.journal.journal import UndoCommand
from harness.qualify.rig.node import Node, ping
from harness.qualify.rig.rig import Rig, supported

RECOVERY_S = 20.0
"""A port that is set up anew negotiates its link (IEEE 802.3 clause 28: up to 4 s at 1000BASE-T),
and its VFs notice by a watchdog of 2 s."""


@contextmanager
def temporarily(
    rig: Rig, node: Node, argv: Sequence[str], undo: Sequence[str], capability: str
) -> Iterator[None]:
    """`argv` run at the node, `undo` afterwards. MissingCapability if its driver has no such
    operation. A guest's changes are not journalled: they end with it."""
    if node.host is not rig.host:
        supported(node.host, node.argv(argv), capability)
        try:
            yield
        finally:
            node.run(undo)
        return
    there = f"/run/netns/{node.netns}" if node.netns else f"/sys/class/net/{node.interface}"
    what = f"ran {' '.join(argv)}{f' in namespace {node.netns}' if node.netns else ''}"
    with rig.journal.change(what, (UndoCommand(node.argv(undo), when=there),)):
        supported(node.host, node.argv(argv), capability)
        yield


@contextmanager
def mtu(rig: Rig, node: Node, size: int) -> Iterator[None]:
    """The interface with another MTU; MissingCapability if its driver allows none so large."""
    shown = json.loads(node.run(("ip", "-d", "-j", "link", "show", node.interface)).text)[0]
    most = int(shown.get("max_mtu") or size)
    if most < size:
        raise MissingCapability("jumbo frames", f"{node.interface} allows an MTU of {most}")
    change = ("ip", "link", "set", node.interface, "mtu")
    argv, undo = (*change, str(size)), (*change, str(shown["mtu"]))
    with temporarily(rig, node, argv, undo, f"MTU {size}"):
        yield


@contextmanager
def features(rig: Rig, node: Node, wanted: Mapping[str, bool]) -> Iterator[None]:
    """The interface with these features (`ethtool -K`, by the names that `-k` shows) on or off.

    MissingCapability if its driver cannot have one so.
    """
    before = node.features()
    change = {
        name: on for name, on in wanted.items() if name not in before or before[name].on != on
    }
    for name, on in change.items():
        if name not in before or before[name].fixed:
            raise _fixed(node, name, on)
    if not change:
        yield
        return
    argv, undo = (
        ("ethtool", "-K", node.interface, *_words({name: on ^ back for name, on in change.items()}))
        for back in (False, True)
    )
    with temporarily(rig, node, argv, undo, ", ".join(change)):
        after = node.features()
        for name, on in wanted.items():
            if name not in after or after[name].on != on:
                raise _fixed(node, name, on)
        yield


def _fixed(node: Node, name: str, on: bool) -> MissingCapability:
    state = "on" if on else "off"
    return MissingCapability(f"{name} {state}", f"the driver of {node.interface} cannot have it so")


def _words(wanted: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(word for name, on in wanted.items() for word in (name, "on" if on else "off"))


def answers(node: Node, address: str, seconds: float = RECOVERY_S) -> bool:
    """Whether `address` answers a ping from the node in time: has a port come back to life?"""
    with suppress(DeadlineExpired):
        return Deadline(seconds, "an answer").poll(lambda: ping(node, address, count=1)) > 0
    return False
