"""Receive rings that hold a whole TCP window, for the length of a run.

A port drops what comes while its ring is full, and then TCP's recovery is measured instead of the
path: with igb's default of 256 descriptors a guest on virtio-vhost received half of what it could,
and another amount in each trial (docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand
from harness.net.ethtool import Rings, rings, set_rings
from harness.net.netns import inside

ENOUGH = 4096
"""Descriptors: a sender's window is at most 4 MiB, unless somebody has set net.ipv4.tcp_wmem, so
2,897 segments of 1,448 bytes are on their way at most; rounded up to a power of two."""


@contextmanager
def lengthened(host: Host, interface: str, journal: Journal) -> Iterator[str]:
    """The interface, which is in the host's own namespace, with a long receive ring; afterwards
    with the one that it had. Yields what has come of it, in words.

    MissingCapability if it may not be changed.
    """
    journal.permit("tune")
    prior = rings(host, interface)
    if prior is None or prior.rx >= enough(prior):
        yield lengthen(host, interface)
        return
    back = set_rings(interface, prior.rx, prior.tx)
    undo = UndoCommand(back, when=f"/sys/class/net/{interface}")
    with journal.change(f"lengthened the receive ring of {interface}", (undo,)):
        yield f"{lengthen(host, interface)} (before: {prior.rx})"


def lengthen(host: Host, interface: str, netns: str = "") -> str:
    """Set it now, since a driver that was bound anew knows nothing of it; how many descriptors it
    has then, in words. An interface that is up loses its link for a moment, if it was shorter.

    On a host it is to be called within `lengthened`; a guest's ring ends with the guest.
    """
    now = rings(host, interface, netns)
    if now is None:
        return f"left as it is: the driver of {interface} has no rings to set"
    wanted = enough(now)
    if now.rx >= wanted:
        return str(now.rx)
    setting = host.run(inside(netns, set_rings(interface, wanted, now.tx)), check=False)
    now = rings(host, interface, netns) or now
    return str(now.rx) if now.rx >= wanted else f"{now.rx}, not {wanted}: {setting.error.strip()}"


def enough(there: Rings) -> int:
    """Descriptors that are wanted, of those that there can be."""
    return min(ENOUGH, there.rx_max)
