"""Queues: flows come to the one that RSS says, and changing their number or length loses little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.deadline import Deadline
from harness.core.errors import MissingCapability, SetUpFailed
from harness.net.ethtool import set_rings
from harness.qualify.rig.act import under_test
from harness.qualify.rig.frames import FrameStream, Sent, exchange, watched
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.settings import answers, temporarily
from harness.qualify.rig.vf import on_host, vfs
from harness.qualify.traffic import rss
from harness.qualify.traffic.queues import changed_under_load, channels, packets_by_queue, rings
from harness.qualify.traffic.rss import Flow
from harness.qualify.traffic.traffic_paths import pf_addressed

QUEUES = 4

FLOWS = 8
NOISE = 4
"""Flow i is sent NOISE * 2^i times, so that a queue's count tells which flows came to it, and
fewer than NOISE frames of others do not matter."""

ATTEMPTS = 3
"""Times that flows are sent if some of their frames are lost."""

LOST_S = 5.0
"""Seconds without traffic that one change may cost: a new negotiation of the link and some."""


@pytest.fixture(scope="module")
def pf(rig: Rig) -> Iterator[Node]:
    """The PF, addressed, with several queues and no VFs."""
    with ExitStack() as stack:
        node = stack.enter_context(pf_addressed(rig))
        there = channels(node)
        if there.most < 2:
            raise MissingCapability("several queues", f"{node.interface} has one channel")
        if there.now != min(QUEUES, there.most):
            argv, undo = (
                set_channels(node, count) for count in (min(QUEUES, there.most), there.now)
            )
            stack.enter_context(temporarily(rig, node, argv, undo, "channels"))
        if not answers(node, rig.wire.ip):
            raise SetUpFailed(f"silent with {min(QUEUES, there.most)} channels")
        yield node


def set_channels(node: Node, count: int) -> tuple[str, ...]:
    return ("ethtool", "-L", node.interface, "combined", str(count))


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_rings_of_a_vf_under_load(rig: Rig, evidence: Evidence) -> None:
    """The length of a VF's rings is changed while traffic flows, and traffic goes on."""
    with vfs(rig, 1) as (vf,), on_host(rig, vf) as node, under_test("changing a VF's rings"):
        evidence(rings_changed(rig, node))


@pytest.mark.parametrize("kind", ["tcp4", "udp4", "tcp6", "udp6"])
@pytest.mark.case("device")
def test_rss(rig: Rig, pf: Node, kind: str, evidence: Evidence) -> None:
    """Each flow comes to the queue that the reference Toeplitz hash gives it."""
    with under_test("spreading flows over the queues"):
        evidence(steered(rig, pf, kind))


@pytest.mark.case("device")
def test_rss_table(rig: Rig, pf: Node, evidence: Evidence) -> None:
    """Another indirection table is obeyed: flows come only to the queues that are in it."""
    table = ("ethtool", "-X", pf.interface)
    argv, undo = (*table, "start", "1", "equal", "1"), (*table, "default")
    with (
        under_test("setting another indirection table"),
        temporarily(rig, pf, argv, undo, "a settable indirection table"),
    ):
        evidence(steered(rig, pf, "tcp4"))


def steered(rig: Rig, pf: Node, kind: str) -> str:
    """Assert that flows come to the queues that key and table give them; tells to which."""
    steering = rss.steering(rig.host, pf.interface)
    ports = rss.hashes_ports(rig.host, pf.interface, kind)
    flows = [flow(pf, kind, number) for number in range(FLOWS)]
    sent = [
        Sent(rig.wire.place, packet(rig.wire, pf, kind, each), copies=NOISE << number)
        for number, each in enumerate(flows)
    ]
    before, after = arrived(rig, pf, sent)
    came = {
        number: queue
        for queue, count in after.items()
        for number in range(FLOWS)
        if (count - before[queue]) // NOISE >> number & 1
    }
    expected = {number: steering.queue(each, ports=ports) for number, each in enumerate(flows)}
    assert came == expected, (
        f"queues by flow: {came}, by the reference: {expected}; frames by queue before {before}, "
        f"after {after}"
    )
    queues = ", ".join(str(came[number]) for number in range(FLOWS))
    return f"by {'addresses and ports' if ports else 'addresses'}: queues {queues}"


def arrived(rig: Rig, pf: Node, sent: Sequence[Sent]) -> tuple[dict[int, int], dict[int, int]]:
    """Frames by queue before and after these are sent. They are sent again if some were lost: a
    ring that a busy host leaves full loses them, and a flow is known by how many come."""
    total = sum(each.copies for each in sent)
    for _ in range(ATTEMPTS):
        before = packets_by_queue(pf.statistics(), "rx")
        if len(before) < 2:
            raise MissingCapability("counters of queues", f"{pf.interface} has {len(before)}")
        exchange(rig.host, sent, [])
        after = packets_by_queue(pf.statistics(), "rx")
        if sum(after.values()) - sum(before.values()) >= total:
            break
    return before, after


@pytest.mark.case("driver")
def test_queues_add_up(rig: Rig, pf: Node, evidence: Evidence) -> None:
    """The packets that the queues count are those that the interface counts, sent and received."""
    frames = [packet(rig.wire, pf, "tcp4", flow(pf, "tcp4", number)) for number in range(FLOWS)]
    back = [packet(pf, rig.wire, "tcp4", flow(rig.wire, "tcp4", number)) for number in range(FLOWS)]
    sent = [Sent(rig.wire.place, each, copies=10) for each in frames]
    sent += [Sent(pf.place, each, copies=10) for each in back]
    with under_test("counting packets by queue"):
        before = counted(pf)
        exchange(rig.host, sent, [])
        after = counted(pf)
    for way in ("rx", "tx"):
        by_queue, whole = (after[way][place] - before[way][place] for place in (0, 1))
        assert by_queue == whole, f"{way}: the queues count {by_queue}, the interface {whole}"
        assert whole >= 10 * FLOWS, f"{way}: {whole} counted, {10 * FLOWS} sent"
        evidence(f"{way}: {by_queue} packets")


def counted(node: Node) -> dict[str, tuple[int, int]]:
    """ "rx" and "tx" -> packets by the sum over the queues, and by the interface, at one moment."""

    def quiet() -> dict[str, tuple[int, int]] | None:
        before, statistics, after = by_interface(node), node.statistics(), by_interface(node)
        if before != after:
            return None
        queues = {way: packets_by_queue(statistics, way) for way in before}
        if not all(queues.values()):
            raise MissingCapability("counters of queues", f"{node.interface} has none")
        return {way: (sum(queues[way].values()), before[way]) for way in before}

    return Deadline(20.0, f"a moment without traffic on {node.interface}").poll(quiet)


def by_interface(node: Node) -> dict[str, int]:
    return {way: node.counter(f"{way}_packets") for way in ("rx", "tx")}


@pytest.mark.case("driver")
def test_channels_under_load(rig: Rig, pf: Node, evidence: Evidence) -> None:
    """The number of channels is changed while traffic flows, and traffic goes on."""
    there = channels(pf)
    argv, undo = set_channels(pf, 1), set_channels(pf, there.now)
    with under_test("changing channels"), temporarily(rig, pf, argv, undo, "channels"):
        assert answers(rig.wire, pf.ip), "silent with 1 channel"
        values = (2, there.now)
        lost = changed_under_load(pf, rig.wire, "-L", values)
        now = channels(pf).now
        assert now == there.now, f"{now} channels, {there.now} were set"
        goes_on(rig, pf, lost, len(values))
    assert answers(rig.wire, pf.ip), f"silent with {there.now} channels"
    evidence(f"1, {', '.join(map(str, values))} channels: {lost:.2f} s without traffic")


@pytest.mark.case("driver")
def test_rings_under_load(rig: Rig, pf: Node, evidence: Evidence) -> None:
    """The length of the PF's rings is changed while traffic flows, and traffic goes on."""
    with under_test("changing the PF's rings"):
        evidence(rings_changed(rig, pf))


def rings_changed(rig: Rig, node: Node) -> str:
    """Assert that traffic goes on while rings are shortened and made longer; tells what it saw."""
    prior = rings(node)
    first, *values = 512, 128, 2048
    argv, undo = (
        set_rings(node.interface, *each) for each in ((first, first), (prior.rx, prior.tx))
    )
    with temporarily(rig, node, argv, undo, "rings"):
        assert answers(rig.wire, node.ip), f"silent with rings of {first}"
        lost = changed_under_load(node, rig.wire, "-G", values)
        now = rings(node)
        assert (now.rx, now.tx) == (values[-1], values[-1]), f"{values[-1]} was set, it has {now}"
        goes_on(rig, node, lost, len(values))
    assert answers(rig.wire, node.ip), "silent with its former rings"
    return f"{first}, {', '.join(map(str, values))} descriptors: {lost:.2f} s without traffic"


def goes_on(rig: Rig, node: Node, lost: float, changes: int) -> None:
    """Assert that little was lost, and that streams arrive again in both directions."""
    assert lost <= LOST_S * changes, f"{lost:.2f} s without traffic for {changes} changes"
    streams = [
        FrameStream("tcp", source.place, target.place, target.ip, 64 << 10)
        for source, target in ((node, rig.wire), (rig.wire, node))
    ]
    _, intact = watched(rig.host, streams)
    assert all(intact), f"after the changes streams from and to the port are intact: {intact}"


def flow(target: Node, kind: str, number: int) -> Flow:
    """One of several flows to the node, from addresses and ports of their own."""
    if kind.endswith("4"):
        return Flow(f"198.18.0.{101 + number}", target.ip, 10_007 + 613 * number, 9)
    return Flow(f"2001:2::{0x101 + 7 * number:x}", target.ip6, 10_007 + 613 * number, 9)


def packet(source: Node, target: Node, kind: str, flow: Flow) -> bytes:
    """A frame of the flow."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    network: Any = IP if kind.endswith("4") else IPv6
    # A reset is never answered (RFC 9293, section 3.5.2), so nothing more flows than is sent.
    transport: Any = TCP(flags="R") if kind.startswith("tcp") else UDP()
    transport.sport, transport.dport = flow.source_port, flow.destination_port
    addresses = network(src=flow.source, dst=flow.destination)
    return bytes(Ether(src=source.mac, dst=target.mac) / addresses / transport / bytes(20))
