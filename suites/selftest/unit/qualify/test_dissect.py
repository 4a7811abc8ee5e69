"""What is read out of frames, of frames that scapy builds and of the same ones spoiled."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from harness.qualify.rig.dissect import Segment, checksums_right, joined, segments, vlan_of
from harness.qualify.rig.frames import Frame

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
NETWORKS = {
    "ipv4": IP(src="198.18.0.1", dst="198.18.0.2"),
    "ipv6": IPv6(src="2001:2::1", dst="2001:2::2"),
}


def built(packet: Any) -> bytes:
    return bytes(packet)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("transport", [TCP(), UDP()], ids=["tcp", "udp"])
def test_a_checksum_is_right_until_a_bit_is_not(network: Any, transport: Any) -> None:
    data = built(ETHER / network / transport / b"payload of odd length")
    assert checksums_right(data)
    assert checksums_right(data + bytes(7)), "padding belongs to no checksum"
    spoiled = bytearray(data)
    spoiled[-1] ^= 1
    assert not checksums_right(bytes(spoiled))


def test_a_wrong_header_checksum_is_wrong() -> None:
    data = bytearray(built(ETHER / NETWORKS["ipv4"] / UDP() / b"payload"))
    data[14 + 10] ^= 1
    assert not checksums_right(bytes(data))


def test_a_vlan_is_read_from_its_tag_only() -> None:
    assert vlan_of(built(ETHER / Dot1Q(vlan=7, prio=3) / NETWORKS["ipv4"])) == 7
    assert vlan_of(built(ETHER / NETWORKS["ipv4"])) is None


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_segments_are_the_payload_without_padding(network: Any) -> None:
    data = built(ETHER / network / TCP(seq=5, options=[("Timestamp", (1, 2))]) / b"abc")
    empty = built(ETHER / network / TCP(seq=8))
    frames = [Frame(each + bytes(6), None, "unknown") for each in (data, empty)]
    assert segments(frames) == [Segment(5, b"abc")]


@given(st.binary(min_size=1, max_size=60), st.integers(0, 2**32 - 1), st.randoms())
def test_segments_in_any_order_and_twice_are_one_stream(data: bytes, start: int, r: Any) -> None:
    parts = [Segment((start + i) % 2**32, data[i : i + 7]) for i in range(0, len(data), 5)]
    first, *rest = parts
    shuffled = [*rest, *rest[:2]]
    r.shuffle(shuffled)
    assert joined([first, *shuffled]) == data


def test_a_stream_ends_at_its_first_gap() -> None:
    assert joined([Segment(0, b"ab"), Segment(3, b"d")]) == b"ab"
    assert joined([]) == b""
