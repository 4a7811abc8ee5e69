"""How a port holds back its interrupts, and how many it raises then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import MissingCapability
from harness.journal import Run
from harness.qualify.agents import agent
from harness.qualify.node import Node
from harness.qualify.rig import Rig, supported


@dataclass(frozen=True)
class Burst:
    """Frames sent one upon the other, and the interrupts of the vector that told of them."""

    frames: int
    seconds: float
    interrupts: int

    @property
    def rate(self) -> float:
        """Interrupts a second."""
        return self.interrupts / self.seconds

    @property
    def per_frame(self) -> float:
        return self.interrupts / self.frames


@contextmanager
def moderated(rig: Rig, interface: str) -> Iterator[None]:
    """The interface's rx-usecs may be set, and do not adapt themselves; afterwards as before."""
    shown = supported(rig.host, ("ethtool", "-c", interface), "interrupt moderation").text
    prior = re.search(r"^rx-usecs:\s*(\d+)", shown, re.MULTILINE)
    if prior is None:
        raise MissingCapability("rx-usecs", f"the driver of {interface} has none")
    adaptive = re.search(r"Adaptive RX:\s*on", shown) is not None
    back = ("rx-usecs", prior[1], *(("adaptive-rx", "on") if adaptive else ()))
    undo = Run(("ethtool", "-C", interface, *back), when=f"/sys/class/net/{interface}")
    with rig.journal.change(f"set rx-usecs of {interface}", (undo,)):
        if adaptive:
            rig.host.run(("ethtool", "-C", interface, "adaptive-rx", "off"))
        yield


def burst(sender: Node, frame: bytes, seconds: float, irqs: Sequence[int]) -> Burst:
    """Send a frame again and again, and count: of these interrupts, which are on the sender's
    machine, the one that was raised most."""
    spec = {"interface": sender.interface, "frame": frame.hex(), "seconds": seconds}
    argv = (*agent("burst"), json.dumps({**spec, "irqs": list(irqs)}))
    told = json.loads(sender.run(argv, timeout=120).text)
    return Burst(told["sent"], told["ns"] / 1e9, max(told["interrupts"].values()))
