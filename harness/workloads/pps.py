"""Frames of one size into the guest, as many as can be or so many a second, by the kernel's pktgen.

They are UDP to an address that nobody has, in the guest's Ethernet frame: its NIC takes them, its
kernel drops them where it looks for the way (IpInAddrErrors, RFC 4293), and nobody answers. So what
is measured is the path up to the guest's IP. Addresses are those of RFC 2544, appendix C.2.2.

Sizes are those of RFC 2544, section 9.1, in bytes with the frame's checksum (FCS). IMIX is pktgen's
own example (commit 52a62f8603f9): IPv4 packets of 40, 576 and 1500 bytes, 7:4:1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import msgspec

from harness.core.errors import ConfigError, LabError
from harness.core.facts import WorkloadFacts
from harness.core.units import NS_PER_S
from harness.hosts.base import Host
from harness.hosts.program import program
from harness.journal.journal import Journal
from harness.journal.modules import lent
from harness.net.netns import made_for_a_while
from harness.records.generator import FLAT_OUT
from harness.tuning.placement import taskset
from harness.window.window import Command, WindowSpec, run_window
from harness.workloads.base import (
    FRAMING,
    Frames,
    ParsedOutput,
    Sending,
    Sizes,
    Target,
    answer_of,
    describe,
    require_positive,
)
from harness.workloads.latency import FLOOR, echo_request

MODULE = "pktgen"
FCS, ETHERNET = 4, 14
SMALLEST, LARGEST = 64, 9600
"""Bytes of a frame: what Ethernet carries at least (IEEE 802.3), and the largest that a NIC of
today takes, rounded."""

STANDARD = (64, 128, 256, 512, 1024, 1280, 1518)
IMIX = {64: 7, 594: 4, 1518: 1}  # size -> weight
SOURCE, DESTINATION = "198.18.0.1", "198.19.255.254"

GAP = 20
"""Bytes that pass on the wire between two frames: preamble 8, interframe gap 12 (IEEE 802.3)."""

DUMMY = "dummy"
SINK_NETNS = "nicproof-sink"
SINK = replace(FLOOR, partner_interface="sink0")
LIMIT_FRAMES = 20_000
"""Of each CPU that sends, when the generator is measured alone."""

REQUEST = 18
"""Bytes of data of an echo request: the smallest frame."""

PATIENCE = 5.0  # seconds for the answer behind the last frame
MARGIN_S = 60.0
EMULATED_MARGIN_S = 600.0
"""By the clock of a host that is emulated a second may take minutes of the world's."""

_NAME = re.compile(r"pps-rx-([1-9]\d*|imix)")


class Sent(msgspec.Struct, frozen=True):
    """The agent's answer; see pktgen_agent.py."""

    sent: int
    errors: int
    ns: int
    drained_ns: int
    quiet_ns: int
    asks: int
    cpus: int


@dataclass(frozen=True)
class Pps:
    """Frames of `size` bytes with FCS, 0 for IMIX: `count` of them, or with 0 for so many
    `seconds`; `rate` a second, or with 0 as many as can be; by so many `threads`."""

    size: int
    count: int = 0
    seconds: float = 5.0
    rate: int = 0
    threads: int = 1
    clones: int = 1000  # a frame is sent so often before the next one is made; IMIX has none
    margin: float = MARGIN_S

    def __post_init__(self) -> None:
        require_positive(self.name, seconds=self.seconds, threads=self.threads)
        if min(self.count, self.rate, self.clones) < 0:
            raise ConfigError(f"{self.name}: count, rate and clones must not be negative")
        if self.size and not SMALLEST <= self.size <= LARGEST:
            raise ConfigError(
                f"{self.name}: a frame has {SMALLEST} to {LARGEST} bytes with its checksum (FCS)",
                remedy=f"choose one of {', '.join(map(str, STANDARD))}, or imix",
            )

    @property
    def name(self) -> str:
        return f"pps-rx-{self.size or 'imix'}"

    @property
    def facts(self) -> WorkloadFacts:
        what = f"frames of {self.size} bytes" if self.size else "frames of IMIX"
        return WorkloadFacts(
            phrase=f"Receiving {what}",
            summary=("pps", "frame_loss", "exits_per_packet"),
            paced=bool(self.rate),
        )

    @property
    def frames(self) -> Frames:
        return Frames(headers=42, counted=True, largest=self.size or max(IMIX))

    @property
    def primary(self) -> tuple[str, ...]:
        return ("pps",)

    @property
    def mean_size(self) -> float:
        """Bytes of a frame with FCS."""
        mix = {self.size: 1} if self.size else IMIX
        return sum(size * weight for size, weight in mix.items()) / sum(mix.values())

    @property
    def parameters(self) -> dict[str, str]:
        mix = " ".join(f"{weight}x{size}" for size, weight in IMIX.items())
        return {
            "size": str(self.size) if self.size else mix,
            **({"frames": str(self.count)} if self.count else {"seconds": f"{self.seconds:g}"}),
            "rate": str(self.rate) if self.rate else FLAT_OUT,
            "threads": str(self.threads),
            "clones": str(self.clones),
        }

    def server(self, target: Target) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def command(self, target: Target, *, asks: bool = True) -> Command:
        """With `asks` the receiver must answer when all is sent."""
        spec = {
            "interface": target.partner_interface,
            "size": (self.size or min(IMIX)) - FCS,
            "imix": "" if self.size else " ".join(f"{s - FCS},{w}" for s, w in IMIX.items()),
            "count": self._count,
            "seconds": self.seconds,
            "rate": self.rate,
            "threads": self.threads,
            "mac": target.guest_mac,
            "source": SOURCE,
            "destination": DESTINATION,
            "clones": self.clones if self.size else 0,
            "request": echo_request(target, REQUEST).hex() if asks else "",
            "patience": PATIENCE,
        }
        argv = (*program(__package__, "pktgen"), json.dumps(spec))
        return Command(
            argv,
            handshake=True,
            timeout=self.seconds + PATIENCE + self.margin,
            modules=(MODULE,),
        )

    @property
    def _count(self) -> int:
        return self.count or round(self.rate * self.seconds)

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        raw = {"pktgen": stdout} if stdout else {}
        found = answer_of(stdout, Sent)
        if found is None:
            return ParsedOutput(raw=raw, error=f"pktgen ended with {describe(rc, stderr)}")
        if found.sent <= 0 or found.ns <= 0:
            return ParsedOutput(raw=raw, error=f"pktgen sent {found.sent} frames")
        return ParsedOutput(
            sending=Sending(found.sent, found.asks, found.ns, found.ns + found.drained_ns),
            raw=raw,
        )


def measure_limits(
    host: Host, loads: Sequence[Pps], journal: Journal, cpus: Sequence[int] = ()
) -> dict[str, float]:
    """What the generator reaches with no port and no guest: frames a second, by workload, into a
    dummy interface of `host`, which drops them; sent by `cpus` if some are given.

    Not over a veth pair: that takes them in on the CPU that sends, and is slower than a port.
    MissingCapability if there is no pktgen, LabError if the host cannot do it.
    """
    found = {}
    with lent(host, MODULE, journal), lent(host, DUMMY, journal, "numdummies=0"), _sink(host):
        for load in loads:
            few = replace(load, count=LIMIT_FRAMES * load.threads, rate=0)
            command = few.command(SINK, asks=False)
            placed = replace(command, argv=(*taskset(cpus), *command.argv))
            result = run_window(host, WindowSpec.of(placed), netns=SINK_NETNS)
            outcome = few.parse(result.stdout, result.stderr, result.returncode)
            if outcome.sending is None:
                raise LabError(f"{host.name}: the generator alone: {outcome.error}")
            found[load.name] = outcome.sending.sent * NS_PER_S / outcome.sending.ns
    return found


def _sink(host: Host) -> AbstractContextManager[None]:
    """A dummy interface in a namespace."""
    return made_for_a_while(
        host,
        SINK_NETNS,
        f"link add {SINK.partner_interface} mtu {LARGEST} type dummy",
        f"link set {SINK.partner_interface} up",
    )


def check_sendable(load: Pps, mtu: int, mbits: int | None) -> None:
    """ConfigError for frames that a port with this MTU does not send, or that are more a second
    than its link of so many Mbit/s carries; None: not known, or not to be taken at its word."""
    if load.frames.largest > mtu + FRAMING:
        raise ConfigError(
            f"frames of {load.frames.largest} bytes: the MTU of {mtu} of the partner's port is "
            "too small",
            remedy="choose smaller frames, or set the MTU of all ports on the way",
        )
    if mbits is None:
        return
    most = line_rate(mbits * 1_000_000, load.mean_size)
    if load.rate > most:
        raise ConfigError(
            f"--pps {load.rate}: a link of {mbits} Mbit/s carries {most:.0f} frames of "
            f"{load.mean_size:g} bytes a second at most",
            remedy="leave --pps out to send as many as can be",
        )


def line_rate(bits: int, size: float) -> float:
    """Frames a second of `size` bytes with FCS that a link of so many bit/s carries at most."""
    return bits / 8 / (size + GAP)


def _sizes(size: int) -> Sizes:
    workload = Pps(size)
    few = replace(workload, count=50_000, margin=EMULATED_MARGIN_S)
    return Sizes(by_time=workload, by_size=few, emulated=replace(few, count=20_000), usual=False)


FAMILY = "pps-rx"
PPS = tuple(_sizes(size) for size in (*STANDARD, 0))
"""By the virtual clock 50,000 frames flat out are an eighth of a second, and three of the world's
seconds; what waits in queues at the end is accounted for."""


def sized(name: str) -> Sizes | None:
    """The workload of this name, be its size a standard one or not; None if it is another one.
    ConfigError for a size that no frame has."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return _sizes(0 if found[1] == "imix" else int(found[1]))
