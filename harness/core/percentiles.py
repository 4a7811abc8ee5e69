"""What may be said of the tail of round trips, from so many of them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core.units import NS_PER_US

QUANTILES = {"rtt_p50": 0.5, "rtt_p90": 0.9, "rtt_p99": 0.99, "rtt_p999": 0.999}

BEYOND = 10
"""Probes that must lie beyond a percentile, for it to be told. With one it is the second largest
value, or the largest, and whether it was seen at all is a matter of luck; how many of n probes lie
beyond the true percentile has the variance n p (1 - p), so of ten it is known within a third, where
one is known within its own size. p99 takes 1,000 probes, p99.9 takes 10,000."""


def resolved(quantile: float, probes: int) -> bool:
    """Do enough of so many probes lie beyond this quantile?"""
    return round(probes * (1 - quantile), 6) >= BEYOND


def nearest_rank(ordered: Sequence[int], q: float) -> int:
    """The quantile `q` (0 < q <= 1) of sorted values: the value at rank ceil(q * n), counted from
    1. It is always a value that was measured; of fewer than 1 / (1 - q) values it is the largest.
    """
    # Rounded first: 0.999 * 1000 is 999.0000000000001 at worst, and that is rank 999.
    return ordered[max(1, math.ceil(round(q * len(ordered), 9))) - 1]


def summarise(rtt_ns: Sequence[int], lost: int = 0, timeout_ns: int = 0) -> dict[str, float]:
    """rtt_min, rtt_max and those of rtt_p50, rtt_p90, rtt_p99 and rtt_p999 that can be told, in us;
    of at least one value.

    A probe without an answer within the timeout took at least that long: it counts as that, so
    that a percentile among such probes is `timeout_ns`, a lower bound. Left out it would flatter.
    """
    ordered = [*sorted(rtt_ns), *[timeout_ns] * lost]
    return {
        "rtt_min": ordered[0] / NS_PER_US,
        **{
            name: nearest_rank(ordered, q) / NS_PER_US
            for name, q in QUANTILES.items()
            if resolved(q, len(ordered))
        },
        "rtt_max": ordered[-1] / NS_PER_US,
    }
