"""What stands in the bytes of a frame, by scapy. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.qualify.rig.frames import Frame

HEADER = 14
"""Bytes of an Ethernet header without a VLAN tag."""


@dataclass(frozen=True)
class Segment:
    """A TCP segment's payload and its place in the stream."""

    sequence: int
    payload: bytes


def checksums_right(data: bytes) -> bool:
    """Whether IPv4's header checksum and those of TCP or UDP are what they must be."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.l2 import Ether

    frame = Ether(data)
    for kind in (IP, TCP, UDP):
        if kind in frame:
            del frame[kind].chksum  # scapy computes anew what is not there
    return bytes(frame) == data


def vlan_of(data: bytes) -> int | None:
    """VLAN identifier of the tag in a frame, None if it has none (IEEE 802.1Q)."""
    if data[12:14] != b"\x81\x00":
        return None
    return int.from_bytes(data[14:16]) & 0xFFF


def segments(frames: Iterable[Frame]) -> list[Segment]:
    """The TCP segments that carry payload, in order of arrival."""
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    found = []
    for frame in frames:
        packet = Ether(frame.data)
        if TCP not in packet:
            continue
        tcp = packet[TCP]
        size = packet[IP].len - 4 * packet[IP].ihl if IP in packet else packet[IPv6].plen
        payload = bytes(tcp)[4 * tcp.dataofs : size]
        if payload:
            found.append(Segment(tcp.seq, payload))
    return found


def joined(parts: Sequence[Segment]) -> bytes:
    """The stream that segments make up, up to the first gap; what came twice is taken once."""
    if not parts:
        return b""
    start = parts[0].sequence
    stream = b""
    for part in sorted(parts, key=lambda part: (part.sequence - start) % 2**32):
        place = (part.sequence - start) % 2**32
        if place > len(stream):
            break
        stream += part.payload[len(stream) - place :]
    return stream


def is_from(frames: Iterable[Frame], mac: str) -> list[Frame]:
    """Frames with this source address."""
    source = bytes.fromhex(mac.replace(":", ""))
    return [frame for frame in frames if frame.data[6:12] == source]
