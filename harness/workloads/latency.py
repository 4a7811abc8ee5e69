"""Round-trip latency: ICMP echo from beside the partner's port, answered by the guest's kernel.

No program of the guest's is woken, and probes leave on a schedule, whatever becomes of the others:
that is the path alone. What a program there makes of it is `tcp-rr`'s, `udp-rr`'s (rr.py), whose
next request waits for the answer to the one before.

The frame is made here with scapy; it is sent and timed by `prober.py` on the partner's side, for
scapy's own send-and-receive loop takes a thousand times longer than the round trip.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from harness.core.errors import ConfigError, LabError
from harness.core.facts import WorkloadFacts
from harness.core.percentiles import summarise
from harness.core.units import NS_PER_S
from harness.hosts.base import Host
from harness.hosts.program import PYTHON
from harness.net.netns import made_for_a_while
from harness.records.trial import STAMPS
from harness.window.window import Command, WindowSpec, run_window
from harness.workloads.base import (
    ICMP,
    Frames,
    ParsedOutput,
    Sizes,
    Target,
    answer_of,
    describe,
    require_positive,
)

MARGIN_S = 30.0
MAX_PAYLOAD = 1472
"""What fits a 1500-byte MTU: 20 bytes of IPv4 and 8 of ICMP are not payload."""

SEQUENCES = 1 << 16

IDENT = 0x6E70
"""ICMP identifier of our requests; the filter lets only its answers in."""


class Probed(msgspec.Struct, frozen=True):
    """The prober's answer; see prober.py."""

    rtt_ns: tuple[int, ...]
    user_ns: tuple[int, ...]
    sent: int
    lost: int
    late: int
    missed: int
    unstamped: int
    behind: int
    source: str


@dataclass(frozen=True)
class Latency:
    """`count` probes, one in every `interval` whatever becomes of the others, after `warmup` ones
    that are not recorded.

    `payload` is in bytes behind the ICMP header; `interval`, `timeout` and `limit` in seconds:
    between two probes on average, for one answer, and for all probes together.
    """

    count: int = 1000
    warmup: int = 20
    payload: int = 56
    interval: float = 0.001
    timeout: float = 1.0
    limit: float = 10.0
    name: str = "latency"
    frames: Frames = ICMP
    facts: WorkloadFacts = WorkloadFacts(
        phrase="Answering single frames", summary=("rtt_p50", "rtt_p99"), paced=True
    )
    primary: tuple[str, ...] = ("rtt_p50", "loss")

    def __post_init__(self) -> None:
        times = {"interval": self.interval, "timeout": self.timeout, "limit": self.limit}
        require_positive(self.name, count=self.count, **times)
        if self.warmup < 0:
            raise ConfigError(f"{self.name}: warmup must not be negative")
        if self.timeout / self.interval >= SEQUENCES:
            raise ConfigError(
                f"{self.name}: with an interval of {self.interval:g} s and a timeout of "
                f"{self.timeout:g} s more than {SEQUENCES} probes may be under way, which their "
                "sequence numbers cannot tell apart"
            )
        if not 0 <= self.payload <= MAX_PAYLOAD:
            raise ConfigError(
                f"{self.name}: payload must be within 0 and {MAX_PAYLOAD} bytes, "
                f"it is {self.payload}"
            )

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "count": str(self.count),
            "warmup": str(self.warmup),
            "payload": str(self.payload),
            "schedule": f"fixed, one in every {self.interval * 1e6:g} us",
            "timeout": f"{self.timeout:g}",
        }

    def server(self, target: Target) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def command(self, target: Target) -> Command:
        spec = {
            "interface": target.partner_interface,
            "frame": echo_request(target, self.payload).hex(),
            "ident": IDENT,
            "count": self.count,
            "warmup": self.warmup,
            "timeout": self.timeout,
            "interval": self.interval,
            "limit": self.limit,
        }
        argv = (*PYTHON, "-c", _prober_source(), json.dumps(spec))
        return Command(argv, handshake=True, timeout=self.limit + self.timeout + MARGIN_S)

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        raw = {"prober": stdout} if stdout else {}
        probed = answer_of(stdout, Probed)
        if probed is None:
            return ParsedOutput(raw=raw, error=f"the prober ended with {describe(rc, stderr)}")
        if not probed.rtt_ns or probed.sent <= 0:
            return ParsedOutput(
                lost=probed.lost, raw=raw, error=f"none of {probed.sent} probes was answered"
            )
        timeout_ns = round(self.timeout * NS_PER_S)
        metrics = {
            **summarise(probed.rtt_ns, probed.lost, timeout_ns),
            "loss": 100 * probed.lost / probed.sent,
            "behind_schedule": 100 * probed.behind / probed.sent,
        }
        return ParsedOutput(
            metrics,
            rtt_ns=probed.rtt_ns,
            lost=probed.lost,
            lost_bytes=probed.missed * (self.payload + self.frames.headers),
            instruments={STAMPS: probed.source.replace("-", " ")},
            raw=raw,
        )


LATENCY = Sizes(
    by_time=Latency(count=10_000, interval=0.0005),
    by_size=Latency(count=1000),
    emulated=Latency(count=1000, interval=0.004),
)
"""By time enough for p99.9 (harness.core.percentiles).

By the virtual clock probes are a millisecond apart on average, which costs nothing there: sent back
to back they wait for the ports' interrupt moderation, and every path takes the same 120 us. They
are enough for p99; ten times as many would tell p99.9, and take as long as all other workloads.

In an emulated lab by the wall clock a round trip takes 3 to 6 ms, and a prober that was to send
2,000 a second would be late."""


def echo_request(target: Target, payload: int) -> bytes:
    """An Ethernet frame with an ICMP echo request from the partner to the guest.

    Identifier, sequence number and ICMP checksum are filled in by the prober, per probe.
    """
    # Imported late: half a second that a report or --help need not pay.
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw

    filling = bytes(place % 256 for place in range(payload))
    frame = (
        Ether(src=target.partner_mac, dst=target.guest_mac)
        / IP(src=target.partner_ip, dst=target.guest_ip)
        / ICMP(type="echo-request")
        / Raw(filling)
    )
    return bytes(frame)


@cache
def _prober_source() -> str:
    return (resources.files(__package__) / "prober.py").read_text()


FLOOR_NETNS = "nicproof-floor"
FLOOR = Target(
    guest_ip="192.0.2.2",  # TEST-NET-1 (RFC 5737), and locally administered addresses
    guest_mac="02:00:00:00:00:02",
    partner_ip="192.0.2.1",
    partner_mac="02:00:00:00:00:01",
    partner_interface="floor0",
)
FLOOR_LATENCY = Latency(count=1000, warmup=50)


def measure_floor(host: Host, latency: Latency = FLOOR_LATENCY) -> ParsedOutput:
    """Round trips over a veth pair of `host`: what the prober itself costs, with no NIC.

    Everything lives in one network namespace that is made and removed here; one that a killed run
    left behind is replaced. Raises LabError if the host cannot do it.
    """
    with _floor_pair(host):
        result = run_window(host, WindowSpec.of(latency.command(FLOOR)), netns=FLOOR_NETNS)
    outcome = latency.parse(result.stdout, result.stderr, result.returncode)
    if outcome.error:
        raise LabError(f"{host.name}: the prober's floor over a veth pair: {outcome.error}")
    return outcome


def _floor_pair(host: Host) -> AbstractContextManager[None]:
    """A veth pair in a namespace. The far end answers; the near end has no address, so that the
    kernel does not take the partner's for its own, and a fixed neighbour stands in for ARP."""
    near, far = FLOOR.partner_interface, "floor1"
    return made_for_a_while(
        host,
        FLOOR_NETNS,
        f"link add {near} address {FLOOR.partner_mac} type veth "
        f"peer name {far} address {FLOOR.guest_mac}",
        f"address add {FLOOR.guest_ip}/24 dev {far}",
        f"link set {near} up",
        f"link set {far} up",
        f"neighbour add {FLOOR.partner_ip} lladdr {FLOOR.partner_mac} dev {far}",
    )
