"""What traffic is: a command beside the link partner's port, and how to read what it said.

Every command runs on the partner's side; the guest only answers (it runs `iperf3 -s`, and its
kernel answers echo requests), so that no control traffic of ours reaches the guest inside the
window. Names are the guest's view all the same: in `tcp-tx` the guest sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from harness.core.errors import ConfigError
from harness.core.facts import WorkloadFacts
from harness.core.units import Clock, Fidelity, is_virtual
from harness.records.trial import IDLE
from harness.window.window import Command

_Answer = TypeVar("_Answer", bound=msgspec.Struct)


@dataclass(frozen=True)
class Frames:
    """What the frames of a workload are, as the proof of their way needs to know it."""

    headers: int
    """Bytes in front of a payload. A super-frame (TSO, GRO) has them once in the guest's counter,
    and once per frame on the wire."""
    super_frames: bool = False  # may the guest count several as one?
    answered: bool = False  # does the guest send back each of them, so that either may be lost?
    queued: bool = False  # do they wait in a socket of the guest's, which drops them when full?
    in_turn: bool = False
    """Does each wait for the one before? Then interrupts that are held back are all that shows."""
    counted: bool = False  # is each of them sent once, so that all can be accounted for?
    largest: int = 0  # bytes with FCS, 0: as the MTU has it


FRAMING = 18
"""Bytes of a frame beyond the MTU: Ethernet's header 14, FCS 4."""

TCP = Frames(headers=66, super_frames=True)
"""Ethernet 14, IPv4 20, TCP 20 with 12 of timestamps (RFC 7323)."""

UDP = Frames(headers=42, queued=True)
"""Ethernet 14, IPv4 20, UDP 8."""

ICMP = Frames(headers=42, answered=True)
"""Ethernet 14, IPv4 20, ICMP echo 8."""


@dataclass(frozen=True)
class Target:
    """The two ends of the path: the guest's interface and the partner's port."""

    guest_ip: str
    guest_mac: str
    partner_ip: str
    partner_mac: str
    partner_interface: str


@dataclass(frozen=True)
class Sending:
    """What a generator did whose frames are counted."""

    sent: int  # frames that its port's driver took
    asks: int  # echo requests beside them, in the window
    ns: int  # from the first to the last one sent
    busy_ns: int
    """The same to when the receiver was through with them: a queue that is full at the end would
    flatter it."""


@dataclass(frozen=True)
class ParsedOutput:
    """What a command's output says. With `error` set nothing else but `raw` is to be used."""

    metrics: dict[str, float] = field(default_factory=dict)
    """By the names of harness.core.metrics.METRICS, in their units."""
    rtt_ns: tuple[int, ...] = ()
    lost: int = 0
    sent_bytes: int | None = None
    """Payload that the guest sent and the partner received in the whole window, warm-up included;
    None if the tool does not tell."""
    received_bytes: int | None = None
    """Payload that the guest received, likewise."""
    lost_bytes: int = 0
    """Bytes on the wire, FCS apart, of the frames that the tool itself missed at their end, in the
    whole window."""
    sending: Sending | None = None
    """Of a workload whose frames are counted; harness.measure.drops makes its metrics of it."""
    counters: dict[str, int] = field(default_factory=dict)
    """What the tool counted in the whole window, as TrialRecord.counters has it."""
    instruments: dict[str, str] = field(default_factory=dict)
    """What measured, as TrialRecord.instruments has it."""
    raw: dict[str, str] = field(default_factory=dict)
    error: str | None = None


class Workload(Protocol):
    """A kind of traffic with its parameters; plain data."""

    @property
    def name(self) -> str:
        """As records have it: "tcp-tx", "udp", "latency"..."""

    @property
    def facts(self) -> WorkloadFacts:
        """What reports know it by."""

    @property
    def frames(self) -> Frames: ...

    @property
    def primary(self) -> tuple[str, ...]:
        """Of the primary metrics (harness.core.metrics) those that its trials have, whatever the
        path; where there is a guest its exits per packet count, too."""

    @property
    def parameters(self) -> dict[str, str]:
        """For the record, e.g. {"seconds": "2", "omit": "1"}."""

    def server(self, target: Target) -> tuple[str, ...]:
        """argv of what answers it where the traffic ends, started there before its first trial. It
        says "ready" on its standard output when it can be asked, and goes on. Empty: the kernel or
        iperf3's server answer, which are there anyway."""

    def command(self, target: Target) -> Command: ...

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        """Never raises: output that cannot be used gives an Outcome with `error`.

        `rc` is None if the command had to be killed or never started.
        """


@dataclass(frozen=True)
class Sizes:
    """A workload to choose, with parameters that fit a host's clock."""

    by_time: Workload  # its default ones
    by_size: Workload
    """For the virtual clock, which stands still for what costs the real one most: a trial of fixed
    size does the same work each time, and takes a few seconds of the world's time."""
    emulated: Workload  # for an emulated host by the wall's clock, which is slow
    hardware: Workload | None = None  # on silicon, where not as by_time
    usual: bool = True
    """Is it made unless others are asked for? Each costs all runs time, and comparisons power."""
    usual_on_hardware: bool = False  # also if it is not usual elsewhere

    @property
    def name(self) -> str:
        return self.by_time.name

    def fitted(self, clock: Clock, fidelity: Fidelity) -> Workload:
        if is_virtual(clock):
            return self.by_size
        if fidelity == "hardware" and self.hardware:
            return self.hardware
        return self.emulated if fidelity == "nested-tcg" else self.by_time


@dataclass(frozen=True)
class Idle:
    """No traffic for a while: the guest's baseline."""

    seconds: float = 2.0
    name: str = IDLE
    facts: WorkloadFacts = WorkloadFacts()
    frames: Frames = TCP  # there are none
    primary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_positive(self.name, seconds=self.seconds)

    @property
    def parameters(self) -> dict[str, str]:
        return {"seconds": f"{self.seconds:g}"}

    def server(self, target: Target) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def command(self, target: Target) -> Command:  # noqa: ARG002
        return Command(("sleep", f"{self.seconds:g}"), timeout=self.seconds + 30)

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:  # noqa: ARG002
        return (
            ParsedOutput()
            if rc == 0
            else ParsedOutput(error=f"sleep ended with {describe(rc, stderr)}")
        )


def require_positive(workload: str, **values: float) -> None:
    """ConfigError for the first value that is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"{workload}: {name} must be above 0, not {value:g}")


def answer_of(stdout: str, kind: type[_Answer]) -> _Answer | None:
    """What a program of ours printed, as JSON; None if it is not that, be it half of it."""
    try:
        return msgspec.json.decode(stdout, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def describe(rc: int | None, stderr: str) -> str:
    """How a command ended, in words."""
    message = stderr.strip()[-500:]
    status = "no exit status (it was killed or never started)" if rc is None else f"status {rc}"
    return f"{status}: {message}" if message else status
