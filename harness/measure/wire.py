"""Throughput from what crossed the wire, for tests that end with their last byte. Pure functions.

A tool's own rate is bytes by its running time, and iperf3 looks only at the end of an interval
whether all bytes are through: a transfer of 0.18 s seems to take 0.2 s, or 1 s. So the partner's
counters are sampled while it runs, and the rate is the slope of bytes over time in the middle of
the transfer: what goes before is the start of TCP, what comes after is waiting. Two directions of a
fixed size start and end at times of their own; their rates belong together only while both flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.records.trial import WireSample
from harness.workloads.base import ParsedOutput

MIDDLE = (0.2, 0.9)
"""Shares of the bytes between which the rate is taken."""

STARTED = 0.01
"""Share of its bytes after which a direction has started."""

FEWEST = 4
"""Samples at least in which both directions flow, where two rates are added."""

BITS = 8
MBIT = 1e6
NS = 1e9

Points = Sequence[tuple[int, int]]  # (ns, bytes), in order of time


def middle(points: Points) -> Points:
    """The samples from the first one past MIDDLE[0] of the bytes to the last one before MIDDLE[1].

    Shares of the bytes, not of the time: acknowledgements of the other direction, which may go on
    for long, are no traffic.
    """
    total = points[-1][1] if points else 0
    if not total:
        return ()
    return [(ns, got) for ns, got in points if MIDDLE[0] * total <= got <= MIDDLE[1] * total]


def steady_rate(points: Points) -> float | None:
    """Bytes per second in the middle of a transfer; None if there are no two samples of it."""
    return _slope(middle(points))


def simultaneous_rates(one: Points, other: Points) -> tuple[float, float] | None:
    """Bytes per second of two directions while both flow: before and after that one has the wire to
    itself, and is faster. None if fewer than FEWEST samples are of that time.

    That is from when both have started, less MIDDLE[0] of the time, to when the first of them has
    carried MIDDLE[1] of its bytes. The other one may have carried few by then: where both want the
    same CPU, one can starve.
    """
    if not (one and other and one[-1][1] and other[-1][1]):
        return None
    started = max(_past(points, STARTED) for points in (one, other))
    end = min(_past(points, MIDDLE[1]) for points in (one, other))
    start = started + MIDDLE[0] * (end - started)
    first, second = (
        [point for point in points if start <= point[0] <= end] for points in (one, other)
    )
    if min(len(first), len(second)) < FEWEST:
        return None
    a, b = _slope(first), _slope(second)
    return None if a is None or b is None else (a, b)


def _past(points: Points, share: float) -> int:
    """When the first sample was taken by which this share of the bytes was carried."""
    return next(ns for ns, got in points if got >= share * points[-1][1])


def _slope(points: Points) -> float | None:
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return None
    (t0, b0), (t1, b1) = points[0], points[-1]
    return (b1 - b0) * NS / (t1 - t0)


def rates(
    wire: Sequence[WireSample], outcome: ParsedOutput, counters: Mapping[str, int]
) -> dict[str, float]:
    """throughput; and in Mbit/s of payload throughput_tx and throughput_rx if both ways carry it,
    each while the other flows as well, of which throughput is the sum.

    `counters` has partner.{rx,tx}_bytes of the whole window: the share of payload in the frames.
    Empty if nothing was sampled, or too little.
    """
    tx = [(sample.ns, sample.rx_bytes) for sample in wire]  # from the guest: the partner's rx
    rx = [(sample.ns, sample.tx_bytes) for sample in wire]
    tx_share = _payload(outcome.sent_bytes, counters.get("partner.rx_bytes", 0))
    rx_share = _payload(outcome.received_bytes, counters.get("partner.tx_bytes", 0))
    if outcome.sent_bytes is not None and outcome.received_bytes is not None:
        both = simultaneous_rates(tx, rx)
        if both is None or not (tx_share and rx_share):
            return {}
        found = {"throughput_tx": both[0] * tx_share, "throughput_rx": both[1] * rx_share}
        return {"throughput": sum(found.values()), **found}
    rate = steady_rate(tx if tx_share else rx)
    share = tx_share or rx_share
    return {"throughput": rate * share} if share and rate is not None else {}


def _payload(payload: int | None, frames: int) -> float:
    """Mbit of payload in a byte of the wire; 0 where there is none."""
    return payload / frames * BITS / MBIT if payload and frames else 0.0
