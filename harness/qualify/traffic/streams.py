"""Transfers of several ends at the same time, each with a server of its own at the partner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby

from harness.hosts.base import Process
from harness.qualify.rig.node import Node, iperf3_client, iperf3_document, iperf3_server
from harness.workloads.iperf3_output import (
    UNREAD,
    Document,
    End,
    needed,
)

FIRST_PORT = 5201
"""iperf3's own; the servers of further streams take the next ones."""


@dataclass(frozen=True)
class Stream:
    """TCP both ways between a node and the partner, for so many seconds of the host's clock."""

    node: Node
    process: Process
    seconds: int

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def report(self) -> Document:
        """What the client says at its end; LabError if that is no complete result."""
        return iperf3_document(self.process.wait(60 + 10 * self.seconds))


@contextmanager
def streams(
    nodes: Sequence[Node], wire: Node, seconds: int, *options: str
) -> Iterator[tuple[Stream, ...]]:
    """A stream of each node; `options` are further ones of its iperf3 client."""
    with ExitStack() as stack:
        found = []
        for port, node in enumerate(nodes, FIRST_PORT):
            stack.enter_context(iperf3_server(wire, wire.ip, port=port))
            how = ("--port", str(port), "--time", str(seconds), "--bidir", *options)
            argv = node.argv(iperf3_client(wire.ip, *how))
            found.append(Stream(node, stack.enter_context(node.host.spawn(argv)), seconds))
        yield tuple(found)


def carried(report: Document) -> int:
    """Bytes of payload that arrived, both ways."""
    ways = (report.end.sum_received, report.end.sum_received_bidir_reverse)
    return sum(way.bytes for way in ways if way is not None)


def datagrams(end: End, size: int) -> tuple[int, int]:
    """UDP datagrams of `size` bytes that were sent, and how many of them were lost.

    Lost are those that the receiver counted; but more than UNREAD that neither arrived nor were
    counted, by the bytes at both ends, were lost as well: a client beside an older server says 0.
    """
    sent, received = needed(end.sum_sent, "sum_sent"), needed(end.sum_received, "sum_received")
    missing = (sent.bytes - received.bytes) // size
    counted = needed(received.lost_packets, "lost_packets")
    return sent.bytes // size, counted if missing - counted <= UNREAD else missing


def longest_silence(report: Document) -> int:
    """Seconds in a row in which one of the directions carried nothing."""
    both = [
        [interval.sum.bytes for interval in report.intervals],
        [way.bytes for interval in report.intervals if (way := interval.sum_bidir_reverse)],
    ]
    return max(map(_longest_run_of_none, both))


def _longest_run_of_none(counts: Sequence[int]) -> int:
    runs = (len(list(run)) for nothing, run in groupby(counts, key=lambda n: not n) if nothing)
    return max(runs, default=0)
