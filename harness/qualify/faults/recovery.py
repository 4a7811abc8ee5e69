"""What a disturbance costs those who use the network: how long one is cut off, what others lose.

The disturbance and the looking go in one command on the host, by the host's clock: between two
commands a virtual clock may run far ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import LabError
from harness.net.ping import Pings, summary
from harness.qualify.rig.node import Node

INSIDE = """
netns=$1 interface=$2 address=$3 limit=$4
shift 4
inside() { if [ "$netns" ]; then ip netns exec "$netns" "$@"; else "$@"; fi; }
carrier() { inside cat "/sys/class/net/$interface/carrier" 2>/dev/null || echo 0; }
"""
"""An interface that is down does not tell its carrier, hence the echo."""

UNTIL = (
    INSIDE
    + """
linked() { [ "$(carrier)" = 1 ]; }
answers() { linked && inside ping -q -c 1 -W 1 "$address" >/dev/null 2>&1; }
cut_off() { ! linked; }
now() { read -r up _ </proc/uptime; up=$((${up%.*} * 100 + 1${up#*.} - 100)); }
wanted=$1
shift
now
begin=$up
"$@" || exit 3
until "$wanted"; do
    now
    [ $((up - begin)) -lt $((limit * 100)) ] || { echo never; exit 0; }
    sleep 0.05
done
now
echo $((up - begin))
"""
)
"""Prints hundredths of a second, or "never". The 1 keeps 0.08 from being an octal number."""

BESIDE = (
    INSIDE
    + """
inside ping -q -n -i 0.01 -w "$limit" "$address" &
sleep 0.3
"$@" || exit 3
wait
"""
)

WRITE = ("sh", "-c", 'printf %s "$1" | dd of="$2" status=none', "sh")
"""argv that writes its first further argument to the file named by its second. By dd, since a
shell's own printf calls every refusal an I/O error."""


def recovery(
    node: Node, address: str, disturbance: Sequence[str] = ("true",), *, limit_s: int = 30
) -> float | None:
    """Seconds from the begin of a disturbance until `node` has a carrier and `address` answers it,
    to 50 ms; None if that is not so within `limit_s`.

    The disturbance runs on the node's machine, in the machine's own namespace.
    """
    return _until("answers", node, address, disturbance, limit_s)


def link_back(node: Node, *, limit_s: int = 60) -> float | None:
    """Seconds from now until `node` has a carrier, as above."""
    return _until("linked", node, "", ("true",), limit_s)


def cut_off(
    node: Node, disturbance: Sequence[str] = ("true",), *, limit_s: int = 10
) -> float | None:
    """Seconds from the begin of a disturbance until `node` has no carrier any more, as above."""
    return _until("cut_off", node, "", disturbance, limit_s)


def beside(node: Node, address: str, disturbance: Sequence[str], *, seconds: int = 3) -> Pings:
    """What `address` answers to `node` for so many seconds, while a disturbance happens."""
    text = _run(BESIDE, node, address, seconds, disturbance)
    found = summary(text)
    if found is None:
        raise LabError(f"{node.host.name}: ping printed no summary: {text[-200:]!r}")
    return found


def _until(
    wanted: str, node: Node, address: str, disturbance: Sequence[str], limit_s: int
) -> float | None:
    message = _run(UNTIL, node, address, limit_s, (wanted, *disturbance)).strip()
    return None if message == "never" else int(message) / 100


def _run(script: str, node: Node, address: str, limit: int, more: Sequence[str]) -> str:
    argv = ("sh", "-c", script, "sh", node.netns, node.interface, address, str(limit))
    return node.host.run((*argv, *more), timeout=60 + 10 * limit).text
