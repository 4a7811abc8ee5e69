"""VLAN tags: put into frames and taken out of them, by the NIC or by the kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.qualify.rig.act import under_test
from harness.qualify.rig.dissect import is_from, vlan_of
from harness.qualify.rig.frames import Frame, FrameStream, Sent, exchange, marked, watched
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.settings import features, temporarily
from harness.qualify.rig.vf import on_host, vfs
from harness.qualify.traffic.traffic_paths import pf_addressed

NEEDS = ("SR-IOV",)
PORT = pytest.mark.parametrize("port", ["VF", "PF"])
STATE = pytest.mark.parametrize("state", ["on", "off"])

VLAN, PRIORITY = 7, 5
SIZE = 100
"""Bytes of a frame without FCS, its tag included."""

COPIES = 100
MARK = b"nicproof"
EXPERIMENTAL = 0x88B5
"""EtherType for local experiments (IEEE 802): no stack answers."""

COUNT_IN_MEMORY = ("igb", "igbvf", "ixgbe", "ixgbevf")
"""Drivers whose rx_bytes are those of the buffers, so without what the NIC took out of frames
(total_bytes in igb_clean_rx_irq() and its like)."""

ADDRESSES = {"VF": "198.19.7.2", "PF": "198.19.7.3", "wire": "198.19.7.1"}
"""Within RFC 2544's range, apart from the untagged net."""


@pytest.fixture(scope="module")
def ends(rig: Rig) -> Iterator[Mapping[str, Node]]:
    """Interfaces of VLAN 7 upon a VF, the PF and the link partner."""
    with ExitStack() as stack:
        (vf,) = stack.enter_context(vfs(rig, 1))
        lower = {
            "VF": stack.enter_context(on_host(rig, vf)),
            "PF": stack.enter_context(pf_addressed(rig)),
            "wire": rig.wire,
        }
        yield {
            name: stack.enter_context(tagged(rig, node, ADDRESSES[name]))
            for name, node in lower.items()
        }


@contextmanager
def tagged(rig: Rig, node: Node, ip: str) -> Iterator[Node]:
    """The node with an interface of VLAN 7 upon it, addressed; traffic is watched below it."""
    upper = f"{node.interface[:12]}.{VLAN}"  # IFNAMSIZ is 16
    add = ("ip", "link", "add", "link", node.interface, "name", upper, "type", "vlan", "id")
    gone = ("sh", "-c", 'ip link del "$1" 2>/dev/null || :', "sh", upper)
    with temporarily(rig, node, (*add, str(VLAN)), gone, "VLAN interfaces"):
        node.run(("ip", "address", "add", f"{ip}/24", "dev", upper))
        node.run(("ip", "link", "set", upper, "up"))
        yield replace(node, ip=ip)


@PORT
@STATE
@pytest.mark.case("device", needs=NEEDS)
def test_vlan_insertion(
    rig: Rig, ends: Mapping[str, Node], port: str, state: str, evidence: Evidence
) -> None:
    """Frames of a VLAN have their tag on the wire, whether the NIC or the kernel puts it in."""
    end, wire = ends[port], ends["wire"]
    streams = [
        FrameStream("tcp", source.place, target.place, target.ip, 4000)
        for source, target in ((end, wire), (wire, end))
    ]
    # Both: some drivers, igb among them, have them on or off together only.
    wanted = {"tx-vlan-offload": state == "on", "rx-vlan-offload": state == "on"}
    with under_test(f"sending with VLAN insertion {state}"), features(rig, end, wanted):
        heard, intact = watched(rig.host, streams, [end.place, wire.place])
    assert all(intact), f"streams over the VLAN, there and back, are intact: {intact}"
    given = carrying(end.ip, [frame for frame in heard[end.place] if frame.own])
    beside = sum(1 for frame in given if frame.tag is not None)
    assert given and beside == (len(given) if state == "on" else 0), (
        f"of {len(given)} frames {beside} were given to the driver with the tag beside them"
    )
    on_wire = carrying(end.ip, is_from(heard[wire.place], end.mac))
    right = sum(1 for frame in on_wire if identifier(frame) == VLAN)
    assert on_wire and right == len(on_wire), f"{right} of {len(on_wire)} have tag {VLAN}"
    evidence(f"{right} frames with tag {VLAN} on the wire; given to the NIC to tag: {beside}")


@PORT
@STATE
@pytest.mark.case("device", needs=NEEDS)
def test_vlan_stripping(
    rig: Rig, ends: Mapping[str, Node], port: str, state: str, evidence: Evidence
) -> None:
    """A tag is told beside the frame, whether the NIC or the kernel takes it out."""
    from scapy.layers.l2 import Dot1Q, Ether

    end, wire = ends[port], ends["wire"]
    driver = end.run(("readlink", f"/sys/class/net/{end.interface}/device/driver")).text
    if driver.strip().rpartition("/")[2] not in COUNT_IN_MEMORY:
        raise MissingCapability("sight of stripping", "its driver counts bytes as on the wire")
    whole = bytes(
        Ether(src=wire.mac, dst=end.mac) / Dot1Q(vlan=VLAN, prio=PRIORITY, type=EXPERIMENTAL) / MARK
    ).ljust(SIZE, b"\0")
    untagged = whole[:12] + whole[16:]
    wanted = {"rx-vlan-offload": state == "on"}
    with under_test(f"receiving with VLAN stripping {state}"), features(rig, end, wanted):
        before = [end.counter(name) for name in ("rx_packets", "rx_bytes")]
        heard = exchange(rig.host, [Sent(wire.place, whole, COPIES)], [end.place])[end.place]
        after = [end.counter(name) for name in ("rx_packets", "rx_bytes")]
    mine = marked(heard, MARK)
    assert len(mine) == COPIES, f"{len(mine)} of {COPIES} tagged frames arrived"
    assert all(frame.data == untagged for frame in mine), "frames arrived altered"
    message = {frame.tag for frame in mine}
    assert all(tag is not None and tag & 0xFFF == VLAN for tag in message), f"tags told: {message}"
    packets, size = (now - then for then, now in zip(before, after, strict=True))
    # A few frames of others, about as long, do not hide 4 bytes more or less of each.
    expected = SIZE - 4 if state == "on" else SIZE
    average = size / packets
    assert abs(average - expected) < 2, (
        f"frames of {SIZE} bytes with their tags have {average:.1f} in memory, {expected} expected"
    )
    kept = "kept" if message == {PRIORITY << 13 | VLAN} else "lost by the driver"
    evidence(f"frames of {SIZE} bytes with tag: {average:.1f} bytes in memory; priority {kept}")


def carrying(ip: str, frames: Iterable[Frame]) -> list[Frame]:
    """Frames with this IPv4 address in them."""
    return [frame for frame in frames if socket.inet_aton(ip) in frame.data]


def identifier(frame: Frame) -> int | None:
    """Of the VLAN that a frame belongs to, its tag in it or beside it.

    A receiving kernel takes out every tag that the NIC left in, before anybody can look
    (skb_vlan_untag() in __netif_receive_skb_core()).
    """
    return frame.tag & 0xFFF if frame.tag is not None else vlan_of(frame.data)
