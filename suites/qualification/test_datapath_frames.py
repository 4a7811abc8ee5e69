"""Frames arrive as they were sent, at all who should have them, and are accounted for."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fixtures.qualification.cases import Evidence
from harness.qualify.rig.act import under_test
from harness.qualify.rig.dissect import is_from
from harness.qualify.rig.frames import Sent, exchange, marked
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.settings import answers, mtu
from harness.qualify.rig.vf import on_host, vfs
from harness.qualify.traffic.traffic_paths import pf_addressed

NEEDS = ("SR-IOV",)

Ends = dict[str, Node]

WAYS = ("wire-to-VF", "VF-to-wire", "PF-to-VF", "VF-to-PF", "VF-to-VF")
WAY = pytest.mark.parametrize("way", WAYS)

SIZES = (60, 61, 63, 64, 65, 127, 128, 256, 512, 1024, 1280, 1513, 1514)
"""Bytes of frames without FCS: 64 to 1518 with it, RFC 2544's and what lies around the ends."""

JUMBO = 9000
MARK = b"nicproof"
EXPERIMENTAL = 0x88B5
"""EtherType for local experiments (IEEE 802): no stack answers."""

BROADCAST = "ff:ff:ff:ff:ff:ff"
COUNT = 400
"""Frames in a row; more than an empty ring of igb's default length (256) would hold."""

DROPS = (
    *("rx_dropped", "rx_errors", "rx_missed_errors", "rx_fifo_errors", "rx_over_errors"),
    *("tx_dropped", "tx_errors"),
)
"""Losses as the kernel accounts for them (struct rtnl_link_stats64)."""


@pytest.fixture(scope="module")
def ends(rig: Rig) -> Iterator[Ends]:
    """The link partner, the PF and two VFs on the host."""
    with ExitStack() as stack:
        made = stack.enter_context(vfs(rig, 2))
        first, second = (stack.enter_context(on_host(rig, vf)) for vf in made)
        pf = stack.enter_context(pf_addressed(rig))
        yield {"wire": rig.wire, "PF": pf, "VF": first, "other VF": second}


def along(ends: Ends, way: str) -> tuple[Node, Node]:
    """(source, target)."""
    source, _, target = way.partition("-to-")
    return ends[source], ends["other VF" if source == target else target]


def frame(source: Node, target: Node | str, size: int) -> bytes:
    """A frame of so many bytes, marked, with a random payload that is the same every time."""
    from scapy.layers.l2 import Ether

    destination = target if isinstance(target, str) else target.mac
    header = bytes(Ether(src=source.mac, dst=destination, type=EXPERIMENTAL))
    payload = MARK + random.Random(size).randbytes(size)
    return (header + payload)[:size]


@WAY
@pytest.mark.case("device", needs=NEEDS)
def test_frames_of_all_sizes(ends: Ends, rig: Rig, way: str, evidence: Evidence) -> None:
    """Frames of 64 to 1518 bytes arrive in order, once, byte for byte as they were sent."""
    source, target = along(ends, way)
    sent = [frame(source, target, size) for size in SIZES]
    place = target.place
    with under_test("an exchange of frames"):
        heard = exchange(rig.host, [Sent(source.place, data) for data in sent], [place])[place]
    assert_same(sent, [each.data for each in marked(heard, MARK)], way)
    evidence(f"{', '.join(str(size + 4) for size in SIZES)} bytes with FCS")


@pytest.mark.case("device", needs=NEEDS)
def test_jumbo_frames(ends: Ends, rig: Rig, evidence: Evidence) -> None:
    """With an MTU of 9000 bytes frames of up to 9018 bytes arrive byte for byte, on every way."""
    sizes = (1515, 2048, 4096, JUMBO + 13, JUMBO + 14)
    ways = {way: along(ends, way) for way in WAYS}
    sent = {way: [frame(*pair, size) for size in sizes] for way, pair in ways.items()}
    with under_test(f"an exchange of frames with an MTU of {JUMBO}"), ExitStack() as stack:
        for end in ends.values():
            stack.enter_context(mtu(rig, end, JUMBO))
        for way, (source, target) in ways.items():
            assert answers(source, target.ip), f"{way}: silent with an MTU of {JUMBO}"
        heard = exchange(
            rig.host,
            [Sent(ways[way][0].place, data) for way, frames in sent.items() for data in frames],
            [end.place for end in ends.values()],
        )
    for way, (source, target) in ways.items():
        assert answers(source, target.ip), f"{way}: silent with its former MTU"
    for way, (source, target) in ways.items():
        arrived = [each.data for each in is_from(heard[target.place], source.mac)]
        assert_same(sent[way], [data for data in arrived if MARK in data], way)
    evidence(f"{', '.join(str(size + 4) for size in sizes)} bytes with FCS; {', '.join(WAYS)}")


@pytest.mark.parametrize("sender", ["wire", "VF", "PF"])
@pytest.mark.case("device", needs=NEEDS)
def test_broadcast(ends: Ends, rig: Rig, sender: str, evidence: Evidence) -> None:
    """A broadcast reaches everybody else on the link once: link partner, PF and VFs."""
    source = ends[sender]
    others = {name: end for name, end in ends.items() if name != sender}
    with under_test("a broadcast"):
        heard = exchange(
            rig.host,
            [Sent(source.place, frame(source, BROADCAST, 128))],
            [end.place for end in others.values()],
        )
    copies = {name: len(marked(heard[end.place], MARK)) for name, end in others.items()}
    assert set(copies.values()) == {1}, f"copies of a broadcast from the {sender}: {copies}"
    evidence(f"from the {sender} to {', '.join(others)}")


@pytest.mark.parametrize("to", ["broadcast", "multicast"])
@pytest.mark.case("device", needs=NEEDS)
def test_nothing_comes_back(ends: Ends, rig: Rig, to: str, evidence: Evidence) -> None:
    """What a VF sends to a group that it belongs to itself does not come back to it.

    Whoever hears itself takes its own IPv6 address for a duplicate (RFC 4862, section 5.4).
    """
    source = ends["VF"]
    # All nodes of the link (RFC 4291): every interface with IPv6 belongs to it.
    target = BROADCAST if to == "broadcast" else "33:33:00:00:00:01"
    sent = [Sent(source.place, frame(source, target, 128))]
    with under_test(f"a {to} of a VF"):
        heard = exchange(rig.host, sent, [source.place, ends["wire"].place])
    assert len(marked(heard[ends["wire"].place], MARK)) == 1, "it did not reach the wire"
    echoes = len(marked(heard[source.place], MARK))
    assert echoes == 0, f"the VF that sent one {to} heard it {echoes} times"
    evidence(f"one {to}: once on the wire, not at its sender")


@WAY
@pytest.mark.case("device", needs=NEEDS)
def test_accounts(ends: Ends, rig: Rig, way: str, evidence: Evidence) -> None:
    """Of frames sent in a row each is counted as sent, and as received or as dropped."""
    source, target = along(ends, way)
    sent = [Sent(source.place, frame(source, target, 256), copies=COUNT)]
    with under_test("counting frames"):
        before = (counters(source), counters(target))
        heard = exchange(rig.host, sent, [target.place], gap_ms=0.05)[target.place]
        after = (counters(source), counters(target))
    arrived = len(marked(heard, MARK))
    tx, rx = (now - then for then, now in zip(before, after, strict=True))
    dropped = sum(each[name] for each in (tx, rx) for name in DROPS)
    message = f"{COUNT} sent, {arrived} arrived; sender counts {tx}, receiver {rx}"
    assert tx["tx_packets"] + tx["tx_dropped"] >= COUNT, message
    assert rx["rx_packets"] >= arrived, message
    assert arrived + dropped == COUNT, message
    evidence(f"{COUNT} sent = {arrived} received + {dropped} dropped")


def counters(node: Node) -> Counter[str]:
    """The interface's counters, as the kernel keeps them."""
    names = " ".join(("rx_packets", "tx_packets", *DROPS))
    script = f'cd "/sys/class/net/$1/statistics" && grep -H . {names}'
    lines = node.run(("sh", "-c", script, "sh", node.interface)).text.splitlines()
    pairs = (line.partition(":") for line in lines)
    return Counter({name: int(value) for name, _, value in pairs})


def assert_same(sent: list[bytes], heard: list[bytes], way: str) -> None:
    lengths = f"{way}: sent frames of {[len(each) for each in sent]} bytes, heard of"
    assert len(heard) == len(sent), f"{lengths} {[len(each) for each in heard]}"
    wrong = [len(a) for a, b in zip(sent, heard, strict=True) if a != b]
    assert not wrong, f"{way}: frames of {wrong} bytes arrived altered"
