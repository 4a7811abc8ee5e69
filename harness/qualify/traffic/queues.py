"""Queues of an interface: how many, how long, what each counts; changed while traffic flows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.errors import LabError, MissingCapability
from harness.net.ethtool import Channels, Rings, parse_channels, parse_rings
from harness.net.ping import summary
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import supported

_COUNTER = re.compile(r"(?P<way>[rt]x)(?:_queue_|-|_)?(?P<queue>\d+)[._]packets")
"""As drivers name them: rx_queue_0_packets (igb, ixgbe), rx-0.packets (ice), rx0_packets (mlx5)."""

INTERVAL_S = 0.05
"""Between two echo requests; so exact is the measured time without answers."""

PAUSE_S = 5
"""Before each change and after the last: a link at 1000BASE-T is back after 3 to 4 s."""

UNDER_LOAD = """
far=$1 to=$2 interface=$3 option=$4 count=$5 interval=$6 pause=$7; shift 7
ip netns exec "$far" ping -q -n -i "$interval" -W 1 -s 1400 -c "$count" "$to" &
for value; do
    sleep "$pause"
    case "$option" in
    -L) ethtool -L "$interface" combined "$value" ;;
    -G) ethtool -G "$interface" rx "$value" tx "$value" ;;
    esac >&2 || exit 1
done
wait
"""
"""One program, so that the echoes and the changes go by one clock."""


def channels(node: Node) -> Channels:
    """MissingCapability if the driver lets nobody see or set them."""
    argv = node.argv(("ethtool", "-l", node.interface))
    found = parse_channels(supported(node.host, argv, "channels").text)
    if found is None:
        raise MissingCapability("channels", f"{node.interface} has no combined ones")
    return found


def rings(node: Node) -> Rings:
    """MissingCapability if the driver lets nobody see or set their length."""
    argv = node.argv(("ethtool", "-g", node.interface))
    found = parse_rings(supported(node.host, argv, "rings").text)
    if found is None:
        raise MissingCapability("rings", f"{node.interface} has none that could be set")
    return found


def packets_by_queue(statistics: dict[str, int], way: str) -> dict[int, int]:
    """Queue -> packets, "rx" or "tx", of the counters in `ethtool -S`; empty if there are none."""
    found = ((_COUNTER.fullmatch(name), value) for name, value in statistics.items())
    return {int(match["queue"]): value for match, value in found if match and match["way"] == way}


def changed_under_load(near: Node, far: Node, option: str, values: Sequence[int]) -> float:
    """Seconds without an answer to `far`'s echo requests while `near` has its channels (-L) or
    rings (-G) set to each of `values`. LabError if a value is refused."""
    count = round(PAUSE_S * (len(values) + 1) / INTERVAL_S)
    words = (far.netns, near.ip, near.interface, option, count, INTERVAL_S, PAUSE_S, *values)
    result = near.run(("sh", "-c", UNDER_LOAD, "sh", *map(str, words)), timeout=120, check=False)
    found = summary(result.ended().text)
    if found is None:
        raise LabError(f"{near.interface}: ethtool {option}: {result.error.strip()}")
    return (count - found.received) * INTERVAL_S
