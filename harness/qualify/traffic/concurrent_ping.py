"""One end that talks to many at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from harness.net.ping import summary
from harness.qualify.rig.node import Node

AT_ONCE = """
count=$1
shift
for address in "$@"; do
    ping -q -c "$count" -i 0.2 -W 1 "$address" | sed "s/^/$address: /" &
done
wait
"""


def answers_at_once(source: Node, addresses: Sequence[str], *, count: int = 20) -> dict[str, int]:
    """How many of `count` echo requests each address answered, all of them asked at once."""
    argv = ("sh", "-c", AT_ONCE, "sh", str(count), *addresses)
    text = source.run(argv, timeout=60 + 2 * count).text
    found = dict.fromkeys(addresses, 0)
    for line in text.splitlines():
        address, _, printed = line.partition(": ")
        if at_end := summary(printed):
            found[address] = at_end.received
    return found
