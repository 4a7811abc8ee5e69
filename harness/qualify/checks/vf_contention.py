"""A port that several share: one VF that asks for too much, a VF beside it, the PF itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.core.errors import ProductFailure
from harness.net.netdev import answers_arp_only_for_itself
from harness.net.ping import Pings, summaries
from harness.qualify.rig.links import addressed_pf
from harness.qualify.rig.node import Node, ping
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import on_host, vfs


@dataclass(frozen=True)
class SharedPort:
    """Who shares it, and the link partner whom all of them reach over the wire."""

    greedy: Node
    neighbour: Node
    pf: Node
    wire: Node

    def all_answer(self) -> None:
        """ProductFailure unless each of them still has its pings answered."""
        for name, node in (
            ("greedy VF", self.greedy),
            ("other VF", self.neighbour),
            ("PF", self.pf),
        ):
            answered = ping(node, self.wire.ip, count=3)
            if answered != 3:
                raise ProductFailure(f"{answered} of 3 pings of the {name} are answered")


@contextmanager
def shared_port(rig: Rig) -> Iterator[SharedPort]:
    """Two VFs of the port on the host, and the PF with addresses; afterwards none of them."""
    with ExitStack() as stack:
        made = stack.enter_context(vfs(rig, 2))
        greedy, neighbour = (stack.enter_context(on_host(rig, vf)) for vf in made)
        yield SharedPort(greedy, neighbour, stack.enter_context(_pf(rig)), rig.wire)


@contextmanager
def _pf(rig: Rig) -> Iterator[Node]:
    """The PF as a node of the link, answering ARP for itself only; afterwards without addresses."""
    with (
        answers_arp_only_for_itself(rig.host, rig.port.interface, rig.journal),
        addressed_pf(rig, "198.18.0.9", "2001:2::9") as node,
    ):
        yield node


CHANGES = 500
"""Of a VF's multicast list, in a flood. With each its driver sends the PF the list and more, twice
as many requests in all. igb answers some in the kernel's log, which must not lose the rest of it:
Debian's holds 128 KiB."""

_FLOOD = r"""
target=$1 flooder=$2; shift 2
place=$(mktemp -d) && cd "$place" || exit 1
for netns; do
    ${netns:+ip netns exec "$netns"} ping -q -i 0.001 "$target" >"ping-$netns" 2>&1 &
    pings="$pings $!"
done
begin=$(date +%s%N)
ip netns exec "$flooder" bridge -batch -
status=$?
end=$(date +%s%N)
kill -INT $pings
wait
for netns; do cat "ping-$netns"; done
rm -r "$place"
echo "$((end - begin))"
exit "$status"
"""
"""Pings in the background, in each namespace that is named, from before until after the flood."""


@dataclass(frozen=True)
class Flood:
    """What happened during a flood of requests to a PF."""

    changes: int
    seconds: float
    pings: tuple[Pings, ...]  # by each of those beside


def flood_mailbox(vf: Node, target: str, beside: Sequence[Node]) -> Flood:
    """Let a VF change its multicast list as fast as it can while others ping `target`.

    All are on one host, each in a namespace of its own. CommandFailed if a change is refused.
    """
    pair = [
        f"fdb {action} 33:33:77:01:00:00 dev {vf.interface} self permanent"
        for action in ("add", "del")
    ]
    argv = ("sh", "-c", _FLOOD, "sh", target, vf.netns, *(node.netns for node in beside))
    text = vf.host.run(argv, stdin="\n".join(pair * (CHANGES // 2)).encode(), timeout=120).text
    return Flood(CHANGES, int(text.split()[-1]) / 1e9, summaries(text))
