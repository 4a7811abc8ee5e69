"""Estimates, intervals and tests. Pure functions of numbers: no frames, no files, no globals.

One number here is one boot (or one block: the same paths booted once each). All tests are
sign-flip permutation tests: if a path made no difference, each paired difference would as well
have had the other sign. Up to `_EXACT_UP_TO` numbers every pattern of signs is tried, beyond that
a seeded sample of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MIN_BLOCKS = 6
"""The fewest pairs whose two-sided exact test can reach p < 0.05: 2 / 2**6 = 0.031."""

ALPHA = 0.05

_EXACT_UP_TO = 14
_DRAWN = 20_000
_SEED = 20_090_823  # for samples of sign patterns only; any number would do
_TOLERANCE = 1e-9  # two statistics closer than this are equal: sums differ in their last bits

_TABLES_KEPT = 4  # for so many counts of boots; a table of 100 boots has 16 MB

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A figure over boots. `low` and `high` bound the 95 % interval, or, if `indicative`, are the
    lowest and the highest boot."""

    value: float
    low: float
    high: float
    boots: int

    @property
    def indicative(self) -> bool:
        """True if there are too few boots for an interval."""
        return self.boots < MIN_BLOCKS


def estimate(boots: Sequence[float]) -> Estimate:
    """The Hodges-Lehmann estimate of one value a boot, with its interval or its range."""
    low, high = interval(boots) if len(boots) >= MIN_BLOCKS else (min(boots), max(boots))
    return Estimate(hodges_lehmann(boots), low, high, len(boots))


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the Walsh averages, i.e. of the means of all pairs, a value with itself
    included (Hodges and Lehmann 1963): nearly as precise as the mean, and robust."""
    data = _floats(values)
    rows, columns = np.triu_indices(len(data))
    return float(np.median((data[rows] + data[columns]) / 2))


def interval(values: Sequence[float], confidence: float = 1 - ALPHA) -> tuple[float, float]:
    """The centres that the exact sign-flip test of `values` does not reject, (low, high).

    Flipping the signs of a subset S leaves the statistic no smaller just if the mean of S is not
    above the centre, so the bounds are order statistics of the means of all subsets (Hartigan
    1969). Unbounded where there are too few values to reject anything.
    """
    data = _floats(values)
    flipped, sizes = _subsets(len(data))
    return bounds(flipped @ data / sizes, confidence)


def bounds(typical: Floats, confidence: float) -> tuple[float, float]:
    """The interval whose ends are order statistics of typical values: values between any two of
    which, in their order, the true one lies with the same probability (Hartigan 1969)."""
    rank = math.floor((len(typical) + 1) * (1 - confidence) / 2)
    if not rank:
        return -math.inf, math.inf
    ordered = np.partition(typical, (rank - 1, len(typical) - rank))
    return float(ordered[rank - 1]), float(ordered[-rank])


def signs(count: int) -> Floats:
    """Patterns of +1 and -1, one a row, the observed one (all +1) first."""
    return np.where(_flipped(count), -1.0, 1.0)


@lru_cache(maxsize=_TABLES_KEPT)
def _flipped(count: int) -> Flags:
    """The same patterns, True for -1. They depend on nothing but `count`, and a report asks for
    those of a few counts some hundred times."""
    table: Flags
    if count <= _EXACT_UP_TO:
        table = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    else:
        table = np.random.default_rng(_SEED).choice([False, True], size=(_DRAWN, count))
        table[0] = False
    table.flags.writeable = False
    return table


@lru_cache(maxsize=_TABLES_KEPT)
def _subsets(count: int) -> tuple[Floats, Floats]:
    """The patterns that flip anything, 1 for a flip, and how many values each of them flips: as
    floats, which BLAS multiplies thirty times as fast as flags."""
    table = _flipped(count)[1:]
    flipped: Floats = table[table.any(axis=1)].astype(np.float64)
    return flipped, flipped.sum(axis=1)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip test that differences are centred on zero."""
    return step_down([dict(enumerate(differences))])[0]


def step_down(family: Sequence[Mapping[int, float]]) -> list[float]:
    """Adjusted p of each of several comparisons; each maps a block to its paired difference.

    Holm's step-down procedure on the joint distribution of the sign flips (Westfall and Young
    1993, free step-down): a block's flip turns the block's differences in all comparisons at once,
    so what they share is not paid for twice. The chance of any false rejection is bounded by the
    level, as with Holm on single p-values, which at six blocks could reject nothing beyond one
    comparison (2 x 0.031 > 0.05).

    The statistic |sum d| / sqrt(sum d^2) grows with Student's t, and needs no variance.
    """
    if not family:
        return []
    blocks = sorted({block for differences in family for block in differences})
    table = np.array([[differences.get(b, 0.0) for b in blocks] for differences in family])
    norms = np.sqrt((table**2).sum(axis=1, keepdims=True))
    scaled = np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)
    flipped = np.abs(signs(len(blocks)) @ scaled.T)  # row 0 is what was observed
    return adjusted(flipped)


def adjusted(statistic: Floats) -> list[float]:
    """Free step-down adjusted p of each column; a row is a permutation, the observed one first."""
    order = np.argsort(-statistic[0], kind="stable")
    found = np.empty(statistic.shape[1])
    largest = 0.0
    for position, index in enumerate(order):
        rivals = statistic[:, order[position:]].max(axis=1)
        p = float(np.mean(rivals >= statistic[0, index] - _TOLERANCE))
        largest = max(largest, p)
        found[index] = largest
    return [float(p) for p in found]


@dataclass(frozen=True)
class Paired:
    """How `left` compares with `right`, block by block."""

    differences: Mapping[int, float]
    ratio: float
    low: float
    high: float
    back: Callable[[float], float]  # from a difference to a ratio


def paired(left: Mapping[int, float], right: Mapping[int, float], bound: float = 1.0) -> Paired:
    """Compare values of the blocks that both have; `differences` are zero at ratio `bound`.

    The difference is log(left / right). Where a count is zero it is instead the relative difference
    (left - right) / (left + right), the hyperbolic tangent of half that logarithm: it turns its
    sign when the two are swapped, as the test needs, and -1 is a plain statement that the one side
    had none. ValueError if no block has both, or a value is negative.
    """
    blocks = sorted(left.keys() & right.keys())
    pairs = [(left[block], right[block] * bound) for block in blocks]
    if not pairs or any(value < 0 for pair in pairs for value in pair):
        raise ValueError(f"nothing to compare in {pairs}")
    positive = all(value > 0 for pair in pairs for value in pair)
    measure, unmeasure = (_log_ratio, ratio_of_log) if positive else (_relative, ratio_of_relative)
    differences = [measure(a, b) for a, b in pairs]
    few = len(differences) < MIN_BLOCKS
    low, high = (min(differences), max(differences)) if few else interval(differences)

    def back(difference: float) -> float:
        return unmeasure(difference) * bound

    return Paired(
        differences=dict(zip(blocks, differences, strict=True)),
        ratio=back(hodges_lehmann(differences)),
        low=back(low),
        high=back(high),
        back=back,
    )


def _log_ratio(a: float, b: float) -> float:
    return math.log(a / b)


def _relative(a: float, b: float) -> float:
    return (a - b) / (a + b) if a + b else 0.0


def ratio_of_log(difference: float) -> float:
    return math.exp(difference) if difference < 700 else math.inf


def ratio_of_relative(difference: float) -> float:
    """a / b of (a - b) / (a + b)."""
    if difference >= 1:
        return math.inf
    return (1 + difference) / (1 - difference) if difference > -1 else 0.0


def _floats(values: Sequence[float]) -> Floats:
    if not values:
        raise ValueError("no value to estimate from")
    return np.asarray(values, dtype=np.float64)
