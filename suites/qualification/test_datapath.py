"""What is sent arrives, on every way that frames take through a port with VFs, both directions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import pytest

from fixtures.qualification.cases import Evidence
from harness.net.netdev import parse_neighbours
from harness.qualify.rig.act import under_test
from harness.qualify.rig.frames import FrameStream, watched
from harness.qualify.rig.node import Node, iperf3, iperf3_server, ping
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.settings import answers, mtu
from harness.qualify.traffic import traffic_paths
from harness.qualify.traffic.streams import datagrams
from harness.qualify.traffic.traffic_paths import GUEST_LEGS, HOST_LEGS, LEGS, Leg
from harness.qualify.traffic.transfer import round_trip

NEEDS = ("SR-IOV",)
IP = pytest.mark.parametrize("version", ["ipv4", "ipv6"])

PAYLOADS = (18, 19, 63, 64, 65, 127, 255, 256, 511, 1023, 1400, 1471, 1472)
"""Of echo requests. With 42 bytes of headers and 4 of FCS they are frames of 64 to 1518 bytes, the
smallest and the largest of IEEE 802.3, and what lies around RFC 2544's sizes."""

ECHO = """
to=$1; shift
for size; do
    case "$(ping -n -c 2 -i 0.02 -W 1 -M do -p a55a0ff0 -s "$size" "$to" 2>&1)" in
    *"wrong data"*) echo "$size" ;;
    *" 2 received"*) ;;
    *) echo "$size" ;;
    esac
done
"""
"""Prints the sizes that did not return twice and unaltered; iputils' ping looks at every byte."""

PACE = "1M"
"""bit/s of UDP: 104 datagrams of 1200 bytes a second. A socket has room for some 90 (208 KiB by
net.core.rmem_default, 2304 bytes each): a reader that a busy host keeps waiting for most of a
second loses none, and what a socket loses is not the port's doing."""

DATAGRAM = 1200
"""Bytes of payload in each of them."""

JUMBO = 9000
GROUP = "239.192.7.7"
"""A multicast group of one organisation (RFC 2365)."""


@pytest.fixture(scope="module", params=LEGS)
def leg(request: pytest.FixtureRequest, rig: Rig) -> Iterator[Leg]:
    """The two ends of one way through the port, for all cases of it."""
    with traffic_paths.leg(rig, request.param) as made:
        yield made


def address(node: Node, version: str) -> str:
    return node.ip if version == "ipv4" else node.ip6


@IP
@pytest.mark.case("device", needs=NEEDS)
def test_neighbours(leg: Leg, version: str, evidence: Evidence) -> None:
    """Either end finds the other by ARP or neighbour discovery, and gets its echoes."""
    for source, target in leg.ways:
        entry = ("to", address(target, version), "dev", source.interface)
        source.run(("ip", "neigh", "flush", *entry))
        with under_test("finding the other end"):
            answered = ping(source, address(target, version), count=3)
        assert answered == 3, f"{answered} of 3 echoes from {target.mac} to {source.mac}"
        known = parse_neighbours(source.run(("ip", "-j", "neigh", "show", *entry)).text)
        assert [each.lladdr for each in known] == [target.mac]
    evidence(f"{leg.near.mac} and {leg.far.mac}: found, 3 of 3 echoes each way")


@IP
@pytest.mark.parametrize("leg", GUEST_LEGS, indirect=True, scope="module")
@pytest.mark.case("device", needs=NEEDS)
def test_tcp_of_a_guest(rig: Rig, leg: Leg, version: str, evidence: Evidence) -> None:
    """A file goes from the guest over TCP to the other end and back, the same at each stop."""
    with under_test("a file's way there and back"):
        trip = round_trip(rig, leg.near, leg.far, address(leg.far, version), kib=512)
    assert trip.there == trip.original, f"{leg.far.interface} received other bytes than were sent"
    assert trip.back == trip.original, f"{leg.near.interface} got back other bytes than it sent"
    evidence(f"512 KiB there and back, SHA-256 {trip.original[:16]}... at each stop")


@IP
@pytest.mark.parametrize("leg", GUEST_LEGS, indirect=True, scope="module")
@pytest.mark.case("device", needs=NEEDS)
def test_udp_of_a_guest(leg: Leg, version: str, evidence: Evidence) -> None:
    """At a moderate pace every UDP datagram from and to the guest arrives."""
    there = address(leg.far, version)
    options = ("--udp", "--bitrate", PACE, "--length", str(DATAGRAM), "--bytes", "240K")
    with iperf3_server(leg.far, there):
        for way in ((), ("--reverse",)):
            with under_test("a stream of datagrams"):
                document = iperf3(leg.near, there, *options, *way)
            sent, lost = datagrams(document, DATAGRAM)
            assert lost == 0, f"{lost} of {sent} lost"
            assert sent >= 200
            evidence(f"{sent} datagrams of {DATAGRAM} bytes {'back' if way else 'there'}")


@IP
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("leg", HOST_LEGS, indirect=True, scope="module")
@pytest.mark.case("device", needs=NEEDS)
def test_streams(
    leg: Leg, rig: Rig, kind: Literal["tcp", "udp"], version: str, evidence: Evidence
) -> None:
    """Random bytes over TCP or UDP arrive as they were sent, in both directions."""
    size = 256 << 10 if kind == "tcp" else 60_000
    streams = [
        FrameStream(kind, source.place, target.place, address(target, version), size)
        for source, target in leg.ways
    ]
    with under_test("a stream each way"):
        _, intact = watched(rig.host, streams)
    assert all(intact), f"there intact: {intact[0]}, back intact: {intact[1]}"
    evidence(f"{size} bytes each way, compared")


@IP
@pytest.mark.case("device", needs=NEEDS)
def test_sizes(leg: Leg, version: str, evidence: Evidence) -> None:
    """Echoes in frames of 64 to 1518 bytes return with the payload they went with."""
    less = 20 if version == "ipv6" else 0  # its header is longer
    sizes = [size - less for size in PAYLOADS if size >= less]
    argv = ("sh", "-c", ECHO, "sh", address(leg.near, version), *map(str, sizes))
    with under_test("echoes of all sizes"):
        failed = leg.far.run(argv, timeout=120).text.split()
    assert not failed, f"payloads of {', '.join(failed)} bytes did not return whole"
    evidence(f"payloads of {', '.join(map(str, sizes))} bytes")


@pytest.mark.case("device", needs=NEEDS)
def test_jumbo(leg: Leg, rig: Rig, evidence: Evidence) -> None:
    """With an MTU of 9000 bytes at both ends packets of 9000 bytes pass whole, both ways."""
    with under_test(f"passing packets of {JUMBO} bytes"), ExitStack() as stack:
        for end in leg.ways[0]:
            stack.enter_context(mtu(rig, end, JUMBO))
        assert answers(leg.far, leg.near.ip), f"silent with an MTU of {JUMBO}"
        for version, payload in (("ipv4", JUMBO - 28), ("ipv6", JUMBO - 48)):
            echoes = ping(leg.far, address(leg.near, version), count=3, size=payload, df=True)
            assert echoes == 3, f"{echoes} of 3 echoes with {version} packets of {JUMBO} bytes"
    assert answers(leg.far, leg.near.ip), "silent with its former MTU"
    evidence(f"3 of 3 echoes in packets of {JUMBO} bytes, IPv4 and IPv6")


@pytest.mark.case("device", needs=NEEDS)
def test_multicast_group(leg: Leg, evidence: Evidence) -> None:
    """A VF answers to an IPv4 multicast group from when it joins it until it leaves."""
    near, far = leg.near, leg.far
    member = (f"{GROUP}/32", "dev", near.interface)
    answers_groups = "/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts"

    def answered() -> int:
        argv = ("ping", "-c", "3", "-i", "0.02", "-W", "1", "-I", far.interface, GROUP)
        output = far.run(argv, check=False).text
        return output.count(f"from {near.ip}:")

    # The namespace, or the guest, forgets the setting when it goes.
    near.run(("sh", "-c", f"echo 0 >{answers_groups}"))
    with under_test("joining and leaving a group"):
        before = answered()
        near.run(("ip", "address", "add", *member, "autojoin"))
        joined = answered()
        near.run(("ip", "address", "del", *member))
        left = answered()
    assert (before, joined, left) == (0, 3, 0), (
        f"of 3 echo requests to {GROUP} it answered {before} before it joined, {joined} as a "
        f"member, {left} after it left"
    )
    evidence(f"{GROUP}: 0, 3, 0 answers before, as a member, after")
