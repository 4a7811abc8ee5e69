"""iperf3 between partner (client) and guest (server), and its JSON.

The client's `-J` output is decoded here and nowhere else. An exit status of 0 proves nothing (a
killed server gave 0 and `"end": {}`), so a result counts only if there is no `error` key and
`end` holds the sums of the direction that was asked for.

Facts of iperf3 3.18 that the code relies on, all seen in real output:
- `sum_sent` and `sum_received` belong to the client's direction, which with -R is the reverse one;
  with --bidir the reverse direction has `sum_sent_bidir_reverse` and `sum_received_bidir_reverse`;
- the sums leave out the seconds of --omit, the intervals hold them, marked `omitted`;
- an interval counts what the client saw: bytes given to the socket when it sends, bytes that
  arrived when it receives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import msgspec

from harness.errors import ConfigError
from harness.measure.window import Command
from harness.workloads.base import Outcome, Target, describe, require_positive

T = TypeVar("T")
Kind = Literal["tcp-tx", "tcp-rx", "tcp-bidir", "udp"]

PORT = 5201
CONNECT_TIMEOUT_MS = 5000
MARGIN_S = 20.0
"""Added to the test's own length: connecting, and the exchange of results at the end."""

INTERVAL_S = "0.1"
"""The shortest that iperf3 takes; a test by size ends with one."""

SAMPLE_S = 0.005
"""Between readings of the wire during a test by size, whose rate harness.measure.wire takes."""

SLOWEST = 500_000
"""Bytes per second of the world's time at which a test by size is given up: a virtual clock stands
still for a lab that gets little of a busy machine, and nothing is wrong with it."""

MBIT = 1e6

UDP_RATE = 2_000_000
"""bit/s. A receiver's default socket buffer (212,992 bytes) then holds half a second of frames,
longer than a guest under nested emulation ever sleeps; at 10 Mbit/s it overflowed there."""


class Sum(msgspec.Struct, frozen=True):
    """`bytes`, rate and what else iperf3 counts for one direction; UDP has the last three."""

    bytes: int
    bits_per_second: float
    retransmits: int | None = None
    jitter_ms: float | None = None
    lost_percent: float | None = None
    packets: int | None = None
    omitted: bool = False


class Interval(msgspec.Struct, frozen=True):
    sum: Sum
    sum_bidir_reverse: Sum | None = None


class Cpu(msgspec.Struct, frozen=True):
    host_total: float
    remote_total: float


class End(msgspec.Struct, frozen=True):
    sum_sent: Sum | None = None
    sum_received: Sum | None = None
    sum_sent_bidir_reverse: Sum | None = None
    sum_received_bidir_reverse: Sum | None = None
    cpu_utilization_percent: Cpu | None = None


class Document(msgspec.Struct, frozen=True):
    """The part of `iperf3 -J` that is used."""

    end: End
    intervals: tuple[Interval, ...] = ()
    error: str | None = None


class Unusable(ValueError):
    """The output is no complete result; the message says why."""


@dataclass(frozen=True)
class Direction:
    """One direction's figures: what its sender and what its receiver counted."""

    sent: Sum
    received: Sum
    total_bytes: int
    """Payload carried, the omitted seconds included. For traffic that the client received this is
    exact; for traffic that it sent, the omitted part is what went into its socket, so it can be
    off by one socket buffer."""


@dataclass(frozen=True)
class Iperf3:
    """One iperf3 test. `udp` goes from the partner to the guest, at `rate` bit/s.

    `seconds` is the measured part, `omit` the warm-up before it (both whole seconds: iperf3 takes
    no fractions of --omit), `parallel` the number of streams. With `size` the test is that many
    bytes of payload instead, whatever time they take, all of them measured.
    """

    name: Kind
    seconds: int = 1
    omit: int = 1
    size: int = 0
    parallel: int = 1
    rate: int = UDP_RATE
    port: int = PORT

    def __post_init__(self) -> None:
        require_positive(
            self.name, seconds=self.seconds, parallel=self.parallel, rate=self.rate, port=self.port
        )
        if self.omit < 0 or self.size < 0:
            raise ConfigError(f"{self.name}: omit and size must not be negative")

    @property
    def parameters(self) -> dict[str, str]:
        length = (
            {"bytes": str(self.size)}
            if self.size
            else {"seconds": str(self.seconds), "omit": str(self.omit)}
        )
        rate = {"rate": str(self.rate)} if self.name == "udp" else {}
        return {**length, "parallel": str(self.parallel), **rate}

    def command(self, target: Target) -> Command:
        argv = (
            *("iperf3", "--json", "--client", target.guest_ip, "--bind", target.partner_ip),
            *("--port", str(self.port), "--connect-timeout", str(CONNECT_TIMEOUT_MS)),
            *self._length(),
            *("--parallel", str(self.parallel)),
            *self._direction(),
        )
        if self.size:
            slowest = self.size / SLOWEST
            return Command(argv, timeout=slowest + MARGIN_S, sample_s=SAMPLE_S)
        return Command(argv, timeout=self.seconds + self.omit + MARGIN_S)

    def _length(self) -> tuple[str, ...]:
        if self.size:
            return ("--bytes", str(self.size), "--interval", INTERVAL_S)
        return ("--time", str(self.seconds), "--omit", str(self.omit))

    @staticmethod
    def _rates_apart(found: Outcome) -> Outcome:
        """Without what is divided by iperf3's time: it looks only at the end of an interval
        whether all bytes are through, so a test by size seems to take whole intervals."""
        kept = {k: v for k, v in found.metrics.items() if k in ("retransmits", "loss", "jitter")}
        return replace(found, metrics=kept)

    def _direction(self) -> tuple[str, ...]:
        match self.name:
            case "tcp-tx":
                return ("--reverse",)
            case "tcp-rx":
                return ()
            case "tcp-bidir":
                return ("--bidir",)
            case "udp":
                return ("--udp", "--bitrate", str(self.rate))

    def parse(self, stdout: str, stderr: str, rc: int | None) -> Outcome:
        raw = {"iperf3": stdout} if stdout else {}
        try:
            found = _outcome(self.name, read_document(stdout), raw)
            return self._rates_apart(found) if self.size else found
        except Unusable as error:
            why = str(error) if stdout.strip() else f"iperf3 ended with {describe(rc, stderr)}"
            return Outcome(raw=raw, error=why)


def read_document(text: str) -> Document:
    """`iperf3 -J` output; Unusable if it is no JSON of that shape or reports an error."""
    try:
        document = msgspec.json.decode(text, type=Document)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Unusable(f"iperf3's output is not a complete result: {error}") from error
    if document.error is not None:
        raise Unusable(f"iperf3: {document.error}")
    return document


def _outcome(kind: Kind, document: Document, raw: dict[str, str]) -> Outcome:
    end = document.end
    cpu = _needed(end.cpu_utilization_percent, "cpu_utilization_percent")
    forward = Direction(
        _needed(end.sum_sent, "sum_sent"),
        _needed(end.sum_received, "sum_received"),
        _carried(document, reverse=kind == "tcp-tx"),
    )
    metrics = {
        "throughput": forward.received.bits_per_second / MBIT,
        "throughput_sent": forward.sent.bits_per_second / MBIT,
        "partner_cpu": cpu.host_total,
        "guest_iperf3_cpu": cpu.remote_total,
    }
    if kind == "udp":
        metrics["loss"] = _needed(forward.received.lost_percent, "lost_percent")
        if not 0 <= metrics["loss"] <= 100:
            # Seen with --omit when the receiver is far behind: datagrams of the warm-up arrive in
            # the measured part and the two counts no longer belong together.
            raise Unusable(f"iperf3 reports a loss of {metrics['loss']:g} %, which cannot be")
        metrics["jitter"] = _needed(forward.received.jitter_ms, "jitter_ms") * 1000
        return Outcome(metrics, raw=raw, received_bytes=forward.total_bytes)
    metrics["retransmits"] = _needed(forward.sent.retransmits, "retransmits")
    if kind == "tcp-tx":
        return Outcome(metrics, raw=raw, sent_bytes=forward.total_bytes)
    if kind == "tcp-rx":
        return Outcome(metrics, raw=raw, received_bytes=forward.total_bytes)
    backward = _backward(document)
    metrics |= _both(to_guest=forward, from_guest=backward)
    return Outcome(
        metrics, raw=raw, sent_bytes=backward.total_bytes, received_bytes=forward.total_bytes
    )


def _backward(document: Document) -> Direction:
    """The direction that --bidir adds: from the server, the guest."""
    end = document.end
    sums = [
        _needed(interval.sum_bidir_reverse, "an interval's sum_bidir_reverse").bytes
        for interval in document.intervals
    ]
    return Direction(
        _needed(end.sum_sent_bidir_reverse, "sum_sent_bidir_reverse"),
        _needed(end.sum_received_bidir_reverse, "sum_received_bidir_reverse"),
        sum(sums),
    )


def _both(*, to_guest: Direction, from_guest: Direction) -> dict[str, float]:
    """Metrics of two directions at once: `throughput` and `retransmits` are their sums."""
    tx = from_guest.received.bits_per_second / MBIT
    rx = to_guest.received.bits_per_second / MBIT
    sent = (from_guest.sent.bits_per_second + to_guest.sent.bits_per_second) / MBIT
    again = _needed(from_guest.sent.retransmits, "retransmits of the reverse direction") + _needed(
        to_guest.sent.retransmits, "retransmits"
    )
    return {
        "throughput": tx + rx,
        "throughput_tx": tx,
        "throughput_rx": rx,
        "throughput_sent": sent,
        "retransmits": again,
    }


def _carried(document: Document, *, reverse: bool) -> int:
    """Payload of the `sum` direction, warm-up included; see Direction.total_bytes."""
    if reverse:
        return sum(interval.sum.bytes for interval in document.intervals)
    warmup = sum(interval.sum.bytes for interval in document.intervals if interval.sum.omitted)
    return warmup + _needed(document.end.sum_received, "sum_received").bytes


def _needed(value: T | None, what: str) -> T:
    if value is None:
        raise Unusable(f"iperf3's result is incomplete: {what} is missing")
    return value
