"""Throughput from what crossed the wire, for tests that end with their last byte. Pure functions.

A tool's own rate is bytes by its running time, and iperf3 looks only at the end of an interval
whether all bytes are through: a transfer of 0.18 s seems to take 0.2 s, or 1 s. So the partner's
counters are sampled while it runs, and the rate is the slope of bytes over time in the middle of
the transfer: what goes before is the start of TCP, what comes after is waiting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.measure.record import WireSample
from harness.workloads.base import Outcome

MIDDLE = (0.2, 0.9)
"""Shares of the bytes between which the rate is taken."""

BITS = 8
MBIT = 1e6
NS = 1e9


def steady_rate(points: Sequence[tuple[int, int]]) -> float | None:
    """Bytes per second between the first sample past MIDDLE[0] of the bytes and the last one
    before MIDDLE[1]; None if these are not two. `points` are (ns, bytes), in order of time."""
    total = points[-1][1] if points else 0
    middle = [(ns, got) for ns, got in points if MIDDLE[0] * total <= got <= MIDDLE[1] * total]
    if not total or len(middle) < 2 or middle[-1][0] <= middle[0][0]:
        return None
    (t0, b0), (t1, b1) = middle[0], middle[-1]
    return (b1 - b0) * NS / (t1 - t0)


def rates(
    wire: Sequence[WireSample], outcome: Outcome, counters: Mapping[str, int]
) -> dict[str, float]:
    """throughput, and in Mbit/s of payload throughput_tx and throughput_rx if both ways carry it.

    `counters` has partner.{rx,tx}_bytes of the whole window: the share of payload in the frames.
    Empty if nothing was sampled, or too little.
    """
    ways = {
        "throughput_tx": (outcome.sent_bytes, "rx_bytes"),
        "throughput_rx": (outcome.received_bytes, "tx_bytes"),
    }
    found = {}
    for name, (payload, key) in ways.items():
        frames = counters.get(f"partner.{key}", 0)
        if payload is None or not frames:
            continue
        rate = steady_rate([(sample.ns, getattr(sample, key)) for sample in wire])
        if rate is None:
            return {}
        found[name] = rate * payload / frames * BITS / MBIT
    if not found:
        return {}
    total = {"throughput": sum(found.values())}
    return total if len(found) == 1 else {**total, **found}
