"""iperf3 between partner (client) and guest (server), as a workload.

What the client's `-J` output says is in `iperf3_output`, which two versions go together in
`iperf3_version`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from harness.core.errors import ConfigError
from harness.core.facts import WorkloadFacts
from harness.core.units import MIB, Clock, Fidelity
from harness.window.window import Command
from harness.workloads.base import (
    TCP,
    UDP,
    Frames,
    ParsedOutput,
    Sizes,
    Target,
    Workload,
    describe,
    require_positive,
)
from harness.workloads.iperf3_output import (
    Document,
    Sum,
    Unusable,
    missing_datagrams,
    needed,
    read_document,
    retransmits,
    udp_loss,
)
from harness.workloads.traffic import UNLIMITED, Traffic

Kind = Literal["tcp-tx", "tcp-rx", "tcp-bidir", "udp"]

MANY = 4
"""Streams beside the one: a single stream is as fast as one CPU at either end, and several fill a
link of 10 Gbit/s, and the queues of a NIC."""

PORT = 5201
CONNECT_TIMEOUT_MS = 5000
MARGIN_S = 20.0
"""Added to the test's own length: connecting, and the exchange of results at the end."""

EMULATED_MARGIN_S = 600.0
"""The same by the clock of a host that is emulated: a second of its time may take minutes of the
world's, by which the limit goes, and nothing is wrong with it."""

INTERVAL_S = "0.1"
"""The shortest that iperf3 takes; a test by size ends with one."""

SAMPLE_S = 0.005
"""Between readings of the wire during a test by size, whose rate harness.measure.wire takes."""

SLOWEST = 500_000
"""Bytes per second of the world's time at which a test by size is given up: a virtual clock stands
still for a lab that gets little of a busy machine, and nothing is wrong with it."""

MBIT = 1e6

_LEAST_SHARE = 0.25
"""Of the rate that was asked for: a test by size of paced datagrams that is slower is given up."""

UDP_RATE = 2_000_000
"""bit/s. A receiver's default socket buffer (212,992 bytes) then holds half a second of frames,
longer than a guest under nested emulation ever sleeps; at 10 Mbit/s it overflowed there."""


@dataclass(frozen=True)
class Direction:
    """One direction's figures: what its sender and what its receiver counted."""

    sent: Sum
    received: Sum
    total_bytes: int
    """Payload carried, the omitted seconds included. For traffic that the client received this is
    exact; for traffic that it sent, the omitted part is what went into its socket, so it can be
    off by one socket buffer."""


_STREAM = ("exits_per_packet", "mmio_exits_per_packet", "throughput")
_FACTS: dict[Kind, WorkloadFacts] = {
    "tcp-tx": WorkloadFacts(phrase="Sending TCP", summary=(*_STREAM, "cpu_per_gbit")),
    "tcp-rx": WorkloadFacts(phrase="Receiving TCP", summary=_STREAM),
    "tcp-bidir": WorkloadFacts(phrase="With TCP both ways"),
    "udp": WorkloadFacts(phrase="Under UDP", paced=True),
}


@dataclass(frozen=True)
class Iperf3:
    """One iperf3 test. `udp` goes from the partner to the guest, at `rate` bit/s, 0 for as fast as
    it goes.

    `seconds` is the measured part, `omit` the warm-up before it (both whole seconds: iperf3 takes
    no fractions of --omit), `parallel` the number of streams. With `size` the test is that many
    bytes of payload instead, whatever time they take, all of them measured. `udp` has no warm-up:
    iperf3 does not tell how much of one was lost, and the proof needs to know of all datagrams.
    """

    kind: Kind
    seconds: int = 1
    omit: int = 1
    size: int = 0
    parallel: int = 1
    rate: int = UDP_RATE
    port: int = PORT
    margin: float = MARGIN_S  # seconds that it may take beyond its own length
    beside: bool = False  # does it stand beside the same one with a single stream?

    def __post_init__(self) -> None:
        require_positive(self.name, seconds=self.seconds, parallel=self.parallel, port=self.port)
        if min(self.omit, self.size, self.rate) < 0:
            raise ConfigError(f"{self.name}: omit, size and rate must not be negative")

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.parallel}" if self.beside else self.kind

    @property
    def facts(self) -> WorkloadFacts:
        facts = _FACTS[self.kind]
        if not self.beside:
            return facts
        return msgspec.structs.replace(facts, phrase=f"{facts.phrase} in {self.parallel} streams")

    @property
    def frames(self) -> Frames:
        return UDP if self.kind == "udp" else TCP

    @property
    def primary(self) -> tuple[str, ...]:
        return ("throughput", "loss") if self.kind == "udp" else ("throughput",)

    @property
    def parameters(self) -> dict[str, str]:
        length = {"bytes": str(self.size)} if self.size else {"seconds": str(self.seconds)}
        warmup = {} if self.size or self.kind == "udp" else {"omit": str(self.omit)}
        rate = {"rate": str(self.rate or UNLIMITED)} if self.kind == "udp" else {}
        if self.size and self.kind == "tcp-bidir":
            rate = {"rates": "while both directions flow"}
        return {**length, **warmup, "parallel": str(self.parallel), **rate}

    def server(self, target: Target) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ()

    def command(self, target: Target) -> Command:
        argv = (
            *("iperf3", "--json", "--client", target.guest_ip, "--bind", target.partner_ip),
            *("--port", str(self.port), "--connect-timeout", str(CONNECT_TIMEOUT_MS)),
            *self._length(),
            *("--parallel", str(self.parallel)),
            *self._direction(),
        )
        if self.size:
            paced = self.kind == "udp" and self.rate
            slowest = min(SLOWEST, _LEAST_SHARE * self.rate / 8) if paced else SLOWEST
            return Command(argv, timeout=self.size / slowest + self.margin, sample_s=SAMPLE_S)
        return Command(argv, timeout=self.seconds + self.omit + self.margin)

    def _length(self) -> tuple[str, ...]:
        if self.size:
            return ("--bytes", str(self.size), "--interval", INTERVAL_S)
        warmup = () if self.kind == "udp" else ("--omit", str(self.omit))
        return ("--time", str(self.seconds), *warmup)

    @staticmethod
    def _rates_apart(found: ParsedOutput) -> ParsedOutput:
        """Without what is divided by iperf3's time: it looks only at the end of an interval
        whether all bytes are through, so a test by size seems to take whole intervals."""
        kept = {k: v for k, v in found.metrics.items() if k in ("retransmits", "loss", "jitter")}
        return replace(found, metrics=kept)

    def _direction(self) -> tuple[str, ...]:
        match self.kind:
            case "tcp-tx":
                return ("--reverse",)
            case "tcp-rx":
                return ()
            case "tcp-bidir":
                return ("--bidir",)
            case "udp":
                return ("--udp", "--bitrate", str(self.rate))

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        raw = {"iperf3": stdout} if stdout else {}
        try:
            found = _outcome(self.kind, read_document(stdout), raw)
            return self._rates_apart(found) if self.size else found
        except Unusable as error:
            why = str(error) if stdout.strip() else f"iperf3 ended with {describe(rc, stderr)}"
            return ParsedOutput(raw=raw, error=why)


def _sizes(by_time: Iperf3, size: int, rate: int = UDP_RATE) -> Sizes:
    return Sizes(
        by_time=by_time,
        by_size=replace(by_time, size=size, rate=rate),
        emulated=replace(by_time, margin=EMULATED_MARGIN_S),
        hardware=replace(by_time, seconds=10, omit=2),
        usual=not by_time.beside,
        usual_on_hardware=True,
    )


IPERF3 = (
    _sizes(Iperf3("tcp-tx"), 128 * MIB),
    _sizes(Iperf3("tcp-tx", parallel=MANY, beside=True), 128 * MIB),
    _sizes(Iperf3("tcp-rx"), 192 * MIB),
    _sizes(Iperf3("tcp-rx", parallel=MANY, beside=True), 192 * MIB),
    _sizes(Iperf3("tcp-bidir"), 64 * MIB),
    _sizes(Iperf3("udp", seconds=2), 4 * MIB, rate=100_000_000),
)
"""By size a single transfer repeats within 1 %; but towards the guest a macvtap's queue overflows
now and then, which TCP averages out with time only: virtio-vhost varies by 3 % with 64 MiB, by 1
with 192.

On silicon ten seconds after two are past TCP's slow start, also over 100 Gbit/s and a long way; a
lab's second tells the same and costs all of its runs less."""


def asked_for(sizes: Sizes, clock: Clock, fidelity: Fidelity, traffic: Traffic) -> Workload:
    """The test fit for a host's clock, with what was asked for of it."""
    fitted = sizes.fitted(clock, fidelity)
    by_time, by_size = sizes.by_time, sizes.by_size
    if not (isinstance(fitted, Iperf3) and isinstance(by_time, Iperf3)):
        return fitted
    if traffic.size is not None and isinstance(by_size, Iperf3):
        fitted = replace(by_size, size=traffic.size * MIB)
    elif traffic.seconds is not None:
        fitted = replace(by_time if fitted.size else fitted, seconds=traffic.seconds)
    if fidelity == "nested-tcg":
        fitted = replace(fitted, margin=EMULATED_MARGIN_S)
    if fitted.kind == "udp":
        rate = traffic.udp_bits
        return fitted if rate is None else replace(fitted, rate=rate)
    return fitted if fitted.beside else replace(fitted, parallel=traffic.streams or 1)


def _outcome(kind: Kind, document: Document, raw: dict[str, str]) -> ParsedOutput:
    end = document.end
    cpu = needed(end.cpu_utilization_percent, "cpu_utilization_percent")
    forward = Direction(
        needed(end.sum_sent, "sum_sent"),
        needed(end.sum_received, "sum_received"),
        _carried(document, reverse=kind == "tcp-tx"),
    )
    metrics = {
        "throughput": forward.received.bits_per_second / MBIT,
        "throughput_sent": forward.sent.bits_per_second / MBIT,
        "partner_cpu": cpu.host_total,
        "guest_iperf3_cpu": cpu.remote_total,
    }
    if kind == "udp":
        metrics["loss"] = udp_loss(forward.sent, forward.received)
        metrics["jitter"] = needed(forward.received.jitter_ms, "jitter_ms") * 1000
        return ParsedOutput(
            metrics, raw=raw, received_bytes=forward.total_bytes, lost_bytes=_lost(forward)
        )
    metrics["retransmits"] = retransmits(forward.sent)
    if kind == "tcp-tx":
        return ParsedOutput(metrics, raw=raw, sent_bytes=forward.total_bytes)
    if kind == "tcp-rx":
        return ParsedOutput(metrics, raw=raw, received_bytes=forward.total_bytes)
    backward = _backward(document)
    metrics |= _both(to_guest=forward, from_guest=backward)
    return ParsedOutput(
        metrics, raw=raw, sent_bytes=backward.total_bytes, received_bytes=forward.total_bytes
    )


def _backward(document: Document) -> Direction:
    """The direction that --bidir adds: from the server, the guest."""
    end = document.end
    sums = [
        needed(interval.sum_bidir_reverse, "an interval's sum_bidir_reverse").bytes
        for interval in document.intervals
    ]
    return Direction(
        needed(end.sum_sent_bidir_reverse, "sum_sent_bidir_reverse"),
        needed(end.sum_received_bidir_reverse, "sum_received_bidir_reverse"),
        sum(sums),
    )


def _both(*, to_guest: Direction, from_guest: Direction) -> dict[str, float]:
    """Metrics of two directions at once: `throughput` and `retransmits` are their sums."""
    tx = from_guest.received.bits_per_second / MBIT
    rx = to_guest.received.bits_per_second / MBIT
    sent = (from_guest.sent.bits_per_second + to_guest.sent.bits_per_second) / MBIT
    again = retransmits(to_guest.sent) + retransmits(
        from_guest.sent, "retransmits of the reverse direction"
    )
    return {
        "throughput": tx + rx,
        "throughput_tx": tx,
        "throughput_rx": rx,
        "throughput_sent": sent,
        "retransmits": again,
    }


def _lost(way: Direction) -> int:
    """Bytes on the wire of the datagrams that did not arrive; each has headers of its own."""
    missing = max(0, missing_datagrams(way.sent, way.received))
    payload = max(0, way.sent.bytes - way.received.bytes)
    return payload + missing * UDP.headers


def _carried(document: Document, *, reverse: bool) -> int:
    """Payload of the `sum` direction, warm-up included; see Direction.total_bytes."""
    if reverse:
        return sum(interval.sum.bytes for interval in document.intervals)
    warmup = sum(interval.sum.bytes for interval in document.intervals if interval.sum.omitted)
    return warmup + needed(document.end.sum_received, "sum_received").bytes
