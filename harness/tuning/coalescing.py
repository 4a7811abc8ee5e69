"""Interrupt moderation of a port at a fixed value for the length of a run.

Drivers choose it by what they see of the traffic, unless told otherwise, and so measure another
port from trial to trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.journal.journal import Journal
from harness.net.ethtool import coalescing, coalescing_back, set_coalescing
from harness.net.netns import inside

USECS = 20
"""Microseconds: at most 50,000 interrupts a second. It lies between what drivers of 1 Gbit/s choose
for latency (igb: 70,000/s, igb_set_itr) and what those of 10 Gbit/s do for throughput (ixgbe:
12,000/s, ixgbe_set_itr), and all take it, ice only even numbers."""

LAB_USECS = 65
"""Microseconds, in the nested lab: between the middle one of the classes from which igb, igbvf and
e1000e choose by the traffic of the last interrupts, and the slowest (20,000/s and 4,000/s,
igb_set_itr, igbvf_set_itr, e1000_set_itr). A boot of a guest stayed in one of two classes, and had
.011 or .025 exits a packet of tcp-rx on a VF (docs/adr/0016).

Of 50 to 77 it is the one that is really fixed: igbvf goes on choosing unless 10^9 / (1024 * us) is
a multiple of 4, e1000e unless 10^6 / us is (igbvf_poll, igbvf_set_coalesce, e1000e_poll)."""


LAB_PROMPT_USECS = 10
"""Microseconds, in the nested lab, for where traffic ends, while that waits for each interrupt
before it goes on; the ports of a host hold none back then. At LAB_USECS each end holds back that of
a frame's sending and that of the next one's arrival: a transaction that takes 53 us by itself took
265 or 288. It is the least that igb, igbvf and e1000e take and really fix, see there; 0 is off for
igb alone. With 10 us for the ports, too, a connection to virtio-vhost took 67 or 88 us, by which of
the port's queues it had."""


@contextmanager
def held(host: Host, interface: str, journal: Journal, usecs: int = USECS) -> Iterator[str]:
    """Moderation of the interface, which is in the host's own namespace, at `usecs`, in both
    directions, and no more adaptive; afterwards as before. Yields what has come of it, in words.

    MissingCapability if it may not be changed.
    """
    journal.permit("tune")
    prior = coalescing(host, interface)
    if prior.rx_usecs is None:
        yield hold(host, interface, usecs)
        return
    what = f"set the interrupt moderation of {interface} to {usecs} us"
    with journal.change(what, coalescing_back(interface, prior)):
        yield f"{hold(host, interface, usecs)} (before: {prior})"


class Place(NamedTuple):
    """An interface."""

    host: Host
    interface: str
    netns: str = ""


@contextmanager
def changed(places: Mapping[Place, int], back: int) -> Iterator[None]:
    """Moderation there at so many microseconds each for a while, then at `back`. To be called
    within `held` as far as they are a host's."""
    try:
        for (host, interface, netns), usecs in places.items():
            hold(host, interface, usecs, netns)
        yield
    finally:
        for host, interface, netns in places:
            with suppress(LabError):  # of a guest that is gone; what it died of is told
                hold(host, interface, back, netns)


def hold(host: Host, interface: str, usecs: int = USECS, netns: str = "") -> str:
    """Set it now, since a driver that was bound anew knows nothing of it; what it is then, in
    words. On a host it is to be called within `held`; a guest's ends with the guest."""
    now = coalescing(host, interface, netns)
    if now.rx_usecs is None:
        return f"left as it is: the driver of {interface} has no rx-usecs"
    wanted = now.fixed(usecs)
    if now == wanted:
        return str(now)
    setting = inside(netns, set_coalescing(interface, wanted))
    refused = host.run(setting, check=False).error.strip()
    now = coalescing(host, interface, netns)
    return str(now) if now == wanted else f"{now}, not {wanted}: {refused}"
