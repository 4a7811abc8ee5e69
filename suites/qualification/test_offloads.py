"""Offloads do to the bytes on the wire what the kernel would have done, on or off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from fixtures.qualification.cases import Evidence
from harness.qualify.rig.act import under_test
from harness.qualify.rig.dissect import HEADER, checksums_right, is_from, joined, segments
from harness.qualify.rig.frames import Frame, FrameStream, Sent, exchange, watched
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.settings import features
from harness.qualify.rig.vf import on_host, vfs

NEEDS = ("SR-IOV",)
STATE = pytest.mark.parametrize("state", ["on", "off"])
IP = pytest.mark.parametrize("version", ["ipv4", "ipv6"])

PLAIN = {"generic-receive-offload": False}
"""Of the link partner, so that its kernel shows what was on the wire."""

MTU = 1500
STREAM = 96 << 10
"""Bytes: some super-frames of at most 64 KiB."""


@dataclass(frozen=True)
class Link:
    """A VF on the host and the link partner, which hears frames as they were on the wire."""

    rig: Rig
    vf: Node
    wire: Node

    def carry(
        self, source: Node, target: Node, version: str, kind: Literal["tcp", "udp"], size: int
    ) -> tuple[list[Frame], list[Frame]]:
        """A stream's frames: as the source's driver was given them, as the target heard them."""
        address = target.ip if version == "ipv4" else target.ip6
        stream = FrameStream(kind, source.place, target.place, address, size)
        heard, (intact,) = watched(self.rig.host, [stream], [source.place, target.place])
        assert intact, f"{size} bytes of {kind} over {version} did not arrive as they were sent"
        given = [frame for frame in heard[source.place] if frame.own]
        return is_from(given, source.mac), is_from(heard[target.place], source.mac)


@pytest.fixture(scope="module")
def link(rig: Rig) -> Iterator[Link]:
    with ExitStack() as stack:
        stack.enter_context(features(rig, rig.wire, PLAIN))
        (vf,) = stack.enter_context(vfs(rig, 1))
        yield Link(rig, stack.enter_context(on_host(rig, vf)), rig.wire)


@STATE
@IP
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.case("device", needs=NEEDS)
def test_checksums_sent(
    link: Link, kind: Literal["tcp", "udp"], version: str, state: str, evidence: Evidence
) -> None:
    """A VF's checksums are right on the wire, whether the NIC or the kernel computes them."""
    wanted = {"tx-checksumming": state == "on"}
    with under_test(f"sending with checksums {state}"), features(link.rig, link.vf, wanted):
        given, heard = link.carry(link.vf, link.wire, version, kind, 12_000)
    left = sum(1 for frame in given if frame.checksum == "absent")
    if state == "on":
        assert left, f"none of {len(given)} frames was left to the NIC to compute its checksum"
    else:
        assert left == 0, f"{left} frames were left to the NIC although it was not to compute"
    wrong = sum(1 for frame in heard if not checksums_right(frame.data))
    assert heard and not wrong, f"{wrong} of {len(heard)} frames on the wire have a wrong checksum"
    evidence(f"{len(heard)} frames right on the wire, {left} frames left to the NIC")


@STATE
@pytest.mark.case("device", needs=NEEDS)
def test_checksums_received(link: Link, state: str, evidence: Evidence) -> None:
    """A VF vouches for right checksums if it is to, and what is wrong is never passed up."""
    vf, wire = link.vf, link.wire
    probes = {port: probe(wire, vf, port, *what) for port, what in enumerate(PROBES, PORT)}
    sent = [Sent(wire.place, bytes(packet)) for packet in probes.values()]
    # GRO computes checksums itself where the NIC did not, and vouches for them in its place.
    wanted = {"rx-checksumming": state == "on", "generic-receive-offload": False}
    with under_test(f"receiving with checksums {state}"), features(link.rig, vf, wanted):
        heard = exchange(link.rig.host, sent, [vf.place, wire.place], gap_ms=20)
    message = {port_of(frame.data): frame.checksum for frame in is_from(heard[vf.place], wire.mac)}
    answered = {answers_to(frame.data) for frame in is_from(heard[wire.place], vf.mac)}
    for port, what in enumerate(PROBES, PORT):
        name = " ".join(what)
        right = what[2] == "right"
        assert (port in answered) == right, f"{name}: answered by the kernel: {port in answered}"
        if right and state == "on":
            assert message.get(port) == "valid", f"{name}: the NIC says {message.get(port)}"
        else:
            assert message.get(port) != "valid", f"{name}: the NIC says it is valid"
    evidence(
        ", ".join(f"{' '.join(what)}: {message.get(p)}" for p, what in enumerate(PROBES, PORT))
    )


@STATE
@IP
@pytest.mark.case("device", needs=NEEDS)
def test_segmentation(link: Link, version: str, state: str, evidence: Evidence) -> None:
    """TCP leaves a VF in frames of at most the MTU and unbroken, whoever cuts it up."""
    wanted = {"tcp-segmentation-offload": state == "on"}
    with under_test(f"sending with segmentation {state}"), features(link.rig, link.vf, wanted):
        given, heard = link.carry(link.vf, link.wire, version, "tcp", STREAM)
    most_given, most_heard = (max(len(each.data) for each in all) for all in (given, heard))
    if state == "on":
        assert most_given > MTU + HEADER, f"the driver got no frame larger than {most_given} bytes"
    else:
        assert most_given <= MTU + HEADER, f"the driver got a frame of {most_given} bytes"
    assert most_heard <= MTU + HEADER, f"there was a frame of {most_heard} bytes on the wire"
    wrong = sum(1 for frame in heard if not checksums_right(frame.data))
    assert not wrong, f"{wrong} of {len(heard)} frames on the wire have a wrong checksum"
    stream = joined(segments(heard))
    assert stream == joined(segments(given)), "the wire carries another stream than was given"
    assert len(stream) == STREAM, f"{len(stream)} of {STREAM} bytes of payload on the wire"
    evidence(
        f"largest frame given to the driver {most_given}, on the wire {most_heard} bytes; "
        f"{len(given)} frames given, {len(heard)} on the wire"
    )


@STATE
@IP
@pytest.mark.case("kernel", needs=NEEDS)
def test_aggregation(link: Link, version: str, state: str, evidence: Evidence) -> None:
    """Frames of one stream to a VF are joined if generic receive offload is on, and not if off."""
    wanted = {"generic-receive-offload": state == "on"}
    with under_test(f"receiving with aggregation {state}"), features(link.rig, link.vf, wanted):
        _, heard = link.carry(link.wire, link.vf, version, "tcp", STREAM)
    most = max(len(frame.data) for frame in heard)
    if state == "on":
        assert most > MTU + HEADER, f"no two frames were joined: the largest has {most} bytes"
    else:
        assert most <= MTU + HEADER, f"frames were joined: the largest has {most} bytes"
    assert len(joined(segments(heard))) == STREAM
    evidence(f"{len(heard)} frames passed up, the largest of {most} bytes")


PORT = 40_000
"""Of the first probe; no socket listens there, so the kernel refuses what it takes for sound."""

PROBES = (
    ("ipv4", "tcp", "right"),
    ("ipv4", "tcp", "wrong"),
    ("ipv4", "udp", "right"),
    ("ipv4", "udp", "wrong"),
    ("ipv6", "tcp", "right"),
    ("ipv6", "tcp", "wrong"),
    ("ipv6", "udp", "right"),
    ("ipv6", "udp", "wrong"),
)


def probe(source: Node, target: Node, port: int, version: str, kind: str, state: str) -> Any:
    """A datagram or a first segment to a closed port, its checksum right or wrong."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether

    network = (
        IP(src=source.ip, dst=target.ip)
        if version == "ipv4"
        else IPv6(src=source.ip6, dst=target.ip6)
    )
    transport = TCP if kind == "tcp" else UDP
    packet = Ether(src=source.mac, dst=target.mac) / network
    packet = Ether(bytes(packet / transport(sport=port, dport=9) / bytes(30)))
    if state == "wrong":
        packet[transport].chksum ^= 0x1234
    return packet


def port_of(data: bytes) -> int | None:
    """Source port of a probe."""
    from scapy.layers.inet import TCP, UDP
    from scapy.layers.l2 import Ether

    packet = Ether(data)
    return next((packet[kind].sport for kind in (TCP, UDP) if kind in packet), None)


def answers_to(data: bytes) -> int | None:
    """Source port of the probe that a refusal answers: a reset, or an ICMP error that quotes it."""
    from scapy.layers.inet import TCP, UDPerror
    from scapy.layers.l2 import Ether

    packet = Ether(data)
    if UDPerror in packet:
        quoted: int = packet[UDPerror].sport
        return quoted
    return packet[TCP].dport if TCP in packet else None
