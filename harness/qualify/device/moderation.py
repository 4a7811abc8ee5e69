"""How a port holds back its interrupts, and how many it raises then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.errors import MissingCapability
from harness.net.ethtool import Coalescing, coalescing, coalescing_back, set_coalescing
from harness.qualify.agents import agent
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig


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
    prior = coalescing(rig.host, interface)
    if prior.rx_usecs is None:
        raise MissingCapability("rx-usecs", f"the driver of {interface} has none")
    with rig.journal.change(f"set rx-usecs of {interface}", coalescing_back(interface, prior)):
        if prior.adaptive_rx:
            rig.host.run(set_coalescing(interface, Coalescing(adaptive_rx=False)))
        yield


def burst(sender: Node, frame: bytes, seconds: float, irqs: Sequence[int]) -> Burst:
    """Send a frame again and again, and count: of these interrupts, which are on the sender's
    machine, the one that was raised most."""
    spec = {"interface": sender.interface, "frame": frame.hex(), "seconds": seconds}
    argv = (*agent("burst"), json.dumps({**spec, "irqs": list(irqs)}))
    answer = json.loads(sender.run(argv, timeout=120).text)
    return Burst(answer["sent"], answer["ns"] / 1e9, max(answer["interrupts"].values()))
