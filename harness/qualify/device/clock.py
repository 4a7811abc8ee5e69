"""A NIC's PTP hardware clock: read, set and slewed; and frames that it stamps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.core.errors import LabError, MissingCapability
from harness.hosts.base import CommandResult, Host
from harness.hosts.program import last_words
from harness.journal.journal import Journal, UndoCommand
from harness.pci.device import Device
from harness.qualify.agents import agent
from harness.qualify.rig.node import Node

SCALE = 65536 / 1000
"""Scaled ppm, the unit of clock_adjtime(2), in one part per billion."""

Step = tuple[str] | tuple[str, float | None]
"""What is done to a clock, see clock_agent.py."""


@dataclass(frozen=True)
class ClockReading:
    """The clock, read between two looks at the host's monotonic one. All in nanoseconds."""

    before: int
    clock: int
    after: int
    slew: int  # scaled ppm

    @property
    def offset(self) -> float:
        """How far it is ahead of the monotonic clock."""
        return self.clock - (self.before + self.after) / 2

    @property
    def window(self) -> int:
        """Within so many nanoseconds the clock was read."""
        return self.after - self.before


def rate(earlier: ClockReading, later: ClockReading) -> tuple[float, float]:
    """How much faster than the monotonic clock it ran between two readings, and by how much that
    may be wrong, in parts per billion."""
    between = (later.before + later.after - earlier.before - earlier.after) / 2
    doubt = (earlier.window + later.window) / 2
    return (later.offset - earlier.offset) / between * 1e9, doubt / between * 1e9


@dataclass(frozen=True)
class Clock:
    """A PTP hardware clock of a host, by its device, such as /dev/ptp0."""

    host: Host
    device: str

    @property
    def most(self) -> int:
        """The most by which it can be slewed, in parts per billion."""
        name = self.device.rpartition("/")[2]
        return int(self.host.read(f"/sys/class/ptp/{name}/max_adjustment"))

    def perform(self, *steps: Step) -> list[ClockReading]:
        """The clock after each step. Only within `borrowed`, unless it is merely read."""
        readings = json.loads(self.host.run(self._argv(steps), timeout=60).text)
        return [ClockReading(*reading) for reading in readings]

    @contextmanager
    def borrowed(self, journal: Journal) -> Iterator[None]:
        """While it lasts the clock may be set and slewed; then it is slewed as before and shows
        the system's time, as its driver sets it at first."""
        (now,) = self.perform(("read",))
        undo = UndoCommand(self._argv((("slew", now.slew), ("set", None))), when=self.device)
        with journal.change(f"set {self.device}", (undo,)):
            yield

    def _argv(self, steps: Sequence[Step]) -> tuple[str, ...]:
        spec = json.dumps({"device": self.device, "steps": steps})
        return (*agent("clock"), spec)


def clock_of(host: Host, bdf: str) -> Clock | None:
    """The clock of a PCI function, None if it has none of its own."""
    found = host.glob(f"{Device(host, bdf).sysfs}/ptp/ptp*")
    return Clock(host, f"/dev/{found[0].rpartition('/')[2]}") if found else None


@dataclass(frozen=True)
class Stamped:
    """A frame, as the NIC's clock stamped it: None if it did not. In nanoseconds."""

    before: int
    stamp: int | None
    after: int

    @property
    def fits(self) -> bool:
        """Was it stamped while it was on its way?"""
        return self.stamp is not None and self.before <= self.stamp <= self.after


OFF = (0, 0)
TX_AND_PTP2 = (1, 12)
"""HWTSTAMP_TX_ON and HWTSTAMP_FILTER_PTP_V2_EVENT, include/uapi/linux/net_tstamp.h."""


@contextmanager
def stamping(node: Node, journal: Journal) -> Iterator[None]:
    """The interface stamps what it is asked to send, and PTP version 2 event messages that it
    receives; afterwards what it stamped before. MissingCapability if it cannot."""
    prior = json.loads(_stamps(node).checked().text)["configured"]
    undo = UndoCommand(_stamps_argv(node, configure=prior), when=f"/sys/class/net/{node.interface}")
    with journal.change(f"had {node.interface} stamp frames", (undo,)):
        result = _stamps(node, configure=TX_AND_PTP2)
        if result.returncode != 0:
            raise MissingCapability("hardware timestamps", last_words(result))
        yield


def stamped(node: Node, clock: Clock, frame: bytes, sender: Node | None = None) -> Stamped:
    """Send a frame from the node and tell when it left; or, given another to send it, when it
    arrived. Only within `stamping`, in the machine's own namespace."""
    source = str(sender.place) if sender else ""
    result = _stamps(node, device=clock.device, frame=frame.hex(), source=source)
    answer = json.loads(result.checked().text)
    return Stamped(answer["before"], answer["stamp"], answer["after"])


def stamping_refused(node: Node) -> str:
    """Why the interface can stamp no frames, "" if it can. It is left as it is if it cannot."""
    result = _stamps(node, configure=TX_AND_PTP2)
    if result.returncode == 0:
        _stamps(node, configure=OFF).checked()
        return ""
    if "OSError" not in result.error:
        raise LabError(f"{node.host.name}: {last_words(result)}")
    return last_words(result)


def _stamps(node: Node, **asked: Any) -> CommandResult:
    return node.run(_stamps_argv(node, **asked), check=False)


def _stamps_argv(
    node: Node,
    *,
    configure: Sequence[int] | None = None,
    device: str = "",
    frame: str = "",
    source: str = "",
) -> tuple[str, ...]:
    spec = {"interface": node.interface, "configure": configure, "device": device}
    text = json.dumps({**spec, "frame": frame, "from": source})
    return (*agent("stamps"), text)
