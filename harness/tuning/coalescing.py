"""Interrupt moderation of a port at a fixed value for the length of a run.

Drivers choose it by what they see of the traffic, unless told otherwise, and so measure another
port from trial to trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.journal.journal import Journal
from harness.net.ethtool import coalescing, coalescing_back, set_coalescing

USECS = 20
"""Microseconds: at most 50,000 interrupts a second. It lies between what drivers of 1 Gbit/s choose
for latency (igb: 70,000/s, igb_set_itr) and what those of 10 Gbit/s do for throughput (ixgbe:
12,000/s, ixgbe_set_itr), and all take it, ice only even numbers."""


@contextmanager
def held(host: Host, interface: str, journal: Journal) -> Iterator[str]:
    """Moderation of the interface, which is in the host's own namespace, at USECS, in both
    directions, and no more adaptive; afterwards as before. Yields what has come of it, in words.

    MissingCapability if it may not be changed.
    """
    journal.permit("tune")
    prior = coalescing(host, interface)
    if prior.rx_usecs is None:
        yield hold(host, interface)
        return
    what = f"set the interrupt moderation of {interface} to {USECS} us"
    with journal.change(what, coalescing_back(interface, prior)):
        yield f"{hold(host, interface)} (before: {prior})"


def hold(host: Host, interface: str) -> str:
    """Set it now, since a driver that was bound anew knows nothing of it; what it is then, in
    words. To be called within `held`."""
    now = coalescing(host, interface)
    if now.rx_usecs is None:
        return f"left as it is: the driver of {interface} has no rx-usecs"
    wanted = now.fixed(USECS)
    if now == wanted:
        return str(now)
    refused = host.run(set_coalescing(interface, wanted), check=False).error.strip()
    now = coalescing(host, interface)
    return str(now) if now == wanted else f"{now}, not {wanted}: {refused}"
