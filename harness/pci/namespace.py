"""A PCI function's interface in a network namespace of its own.

There nobody but the harness has to do with an interface: no firewall, no manager of networks, no
udev that renames it, and no way from it to the host's other interfaces but the cable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand
from harness.pci.device import ROOT

MOVE = """
netns=$1 net=$2/net
ip netns add "$netns" && ip -n "$netns" link set lo up || exit
for _ in $(seq 100); do
    for interface in $(ls "$net"); do
        message=$(ip link set dev "$interface" netns "$netns" 2>&1) || continue
        exec ip netns exec "$netns" ls "$net"
    done
    sleep 0.1
done
echo "${message:-there is no interface}" >&2
exit 1
"""
"""Make namespace $1, move the interface of the function $2 (in sysfs) there, and tell its name in
there. Until it is there, its name may change with every look: udev is at work on it."""


@contextmanager
def in_namespace(host: Host, bdf: str, netns: str, journal: Journal) -> Iterator[str]:
    """The interface of a function, whose driver has made one, in a new network namespace; yields
    its name there. LabError if it does not get there.

    Afterwards there is no such namespace. The kernel then takes the interface home, by a name that
    is free there, unless its driver, which is about to let go of the function, is faster.
    """
    undo = UndoCommand(("ip", "netns", "del", netns), when=f"/run/netns/{netns}")
    with journal.change(f"moved the interface of {bdf} to namespace {netns}", (undo,)):
        yield host.run(("sh", "-c", MOVE, "sh", netns, f"{ROOT}/{bdf}")).text.strip()
