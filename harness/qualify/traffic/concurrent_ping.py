"""One end that talks to many at the same time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.qualify.rig.node import Node

AT_ONCE = """
count=$1
shift
for address in "$@"; do
    ping -q -c "$count" -i 0.2 -W 1 "$address" | sed "s/^/$address: /" &
done
wait
"""

_RECEIVED = re.compile(r"(\S+): .*?(\d+) (?:packets )?received")


def answers_at_once(source: Node, addresses: Sequence[str], *, count: int = 20) -> dict[str, int]:
    """How many of `count` echo requests each address answered, all of them asked at once."""
    argv = ("sh", "-c", AT_ONCE, "sh", str(count), *addresses)
    text = source.run(argv, timeout=60 + 2 * count).text
    found = {address: int(received) for address, received in _RECEIVED.findall(text)}
    return {address: found.get(address, 0) for address in addresses}
