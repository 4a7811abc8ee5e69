"""How one set of runs' figures lies beside another's: tests and intervals for boots that are not
paired. Pure functions of numbers.

One number is one boot. If two configurations made no difference, any boot might as well have been
the other's, so the labels are exchanged in every way there is (or, of many, in a seeded sample).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.stats.estimates import Floats, adjusted, bounds, ratio_of_log, ratio_of_relative

_ALL_UP_TO = 20_000
_SAME = 1e-9  # log ratios closer than this are equal
_SEED = 20_101_209  # for samples of labellings only; any number would do


@dataclass(frozen=True)
class Shift:
    """`ratio` is new / base, with the interval that the test at hand does not reject."""

    ratio: float
    low: float
    high: float
    scale: float  # standard deviation of what is compared (a boot, a pair, a run), as a log ratio
    boots: tuple[int, int]
    bounded: bool = True  # False: too few boots for an interval, anything may be


@lru_cache(maxsize=8)
def labellings(base: int, new: int) -> NDArray[np.bool_]:
    """Which of base + new boots are called new: a row a way, the observed one (the last) first."""
    total = base + new
    if math.comb(total, new) <= _ALL_UP_TO:
        ways = np.zeros((math.comb(total, new), total), dtype=bool)
        chosen = combinations(range(total - 1, -1, -1), new)
        for row, which in enumerate(chosen):
            ways[row, list(which)] = True
        return ways
    generator = np.random.default_rng(_SEED)
    drawn = np.argsort(generator.random((_ALL_UP_TO, total)), axis=1) >= base
    drawn[0] = np.arange(total) >= base
    return drawn


def shift(base: Sequence[float], new: Sequence[float], confidence: float) -> Shift:
    """The ratio of two sides: the median of the ratios of all their pairs (Hodges and Lehmann
    1963), with the exact interval.

    Exchanging a set of base boots for as many new ones leaves the statistic as it is just if the
    true difference is that of the two sets' means, so the bounds are order statistics of those
    differences (Hartigan 1969, for two samples). ValueError if a side is empty or a value negative.
    """
    sides, back = scaled(base, new)
    left, right = sides[: len(base)], sides[len(base) :]
    pairs = np.subtract.outer(right, left)
    within = np.concatenate([left - left.mean(), right - right.mean()])
    freedom = max(1, len(within) - 2)
    low, high = _interval(left, right, confidence)
    none_before = not any(base) and any(new)
    return Shift(
        ratio=math.inf if none_before else back(float(np.median(pairs))),
        low=back(low),
        high=back(high),
        scale=float(math.sqrt((within**2).sum() / freedom)),
        boots=(len(base), len(new)),
        bounded=math.isfinite(low),
    )


def _interval(left: Floats, right: Floats, confidence: float) -> tuple[float, float]:
    ways = labellings(len(left), len(right))[1:]
    to_base = ~ways[:, len(left) :]  # new boots that are called base
    to_new = ways[:, : len(left)]
    moved = to_base.sum(axis=1)
    return bounds((to_base @ right - to_new @ left) / moved, confidence)


def scaled(base: Sequence[float], new: Sequence[float]) -> tuple[Floats, Callable[[float], float]]:
    """Both sides on a scale on which a difference is a log ratio, and the way back to a ratio.

    Where a count is zero there is no logarithm: the scale is then the value over the mean of the
    two sides' means, and a difference of 2 means that one side has none.
    """
    data = np.asarray([*base, *new], dtype=np.float64)
    if not base or not new or (data < 0).any():
        raise ValueError(f"nothing to compare in {base} and {new}")
    if (data > 0).all():
        return np.log(data), ratio_of_log
    middle = (np.mean(base) + np.mean(new)) / 2
    return data / (middle or 1.0), lambda difference: ratio_of_relative(difference / 2)


def step_down(table: Floats, new: int) -> list[float]:
    """Adjusted p of several comparisons at once (Westfall and Young 1993, free step-down).

    `table` has a row a comparison and a column a block, the base's first, then `new` new ones; NaN
    where a block has no value. Exchanging a block exchanges it in all rows, so what they share is
    not paid for twice. The chance of any false rejection is bounded by the level.
    """
    if not len(table):
        return []
    there = ~np.isnan(table)
    means = np.where(there.any(axis=1), np.nansum(table, axis=1), 0) / np.maximum(
        there.sum(axis=1), 1
    )
    centred = np.where(there, table - means[:, None], 0.0)
    norms = np.sqrt((centred**2).sum(axis=1))
    ways = labellings(table.shape[1] - new, new).astype(np.float64)
    many_new, sum_new = there @ ways.T, centred @ ways.T
    many_base = there.sum(axis=1)[:, None] - many_new
    usable = (many_new > 0) & (many_base > 0)
    gaps = np.where(
        usable,
        np.abs(sum_new) * (1 / np.maximum(many_new, 1) + 1 / np.maximum(many_base, 1)),
        0.0,
    )
    # |difference of means|: the centred sums of the two sides are opposite. A figure that never
    # varies leaves the rounding of its mean, which must not be scaled up to a rival of the others.
    statistic = gaps / np.where(norms > _SAME, norms, 1.0)[:, None]
    return adjusted(statistic.T)


def boots_needed(scale: float, gap: float) -> int:
    """Boots a side with which a difference of `gap` (a log ratio) is told from none, 4 times of 5
    and with one false alarm in a hundred: 2 (2.576 + 0.842)^2 (scale / gap)^2, by the normal
    approximation of the two-sample test."""
    return math.ceil(2 * (2.576 + 0.842) ** 2 * (scale / gap) ** 2) if gap else 0
