"""Judging pairs as they come in: a test of several figures together, at planned looks. Pure
functions of numbers.

One number is one block, in which both configurations were booted: how they differed in one figure,
as a log ratio. Which of the two was booted first was drawn, so if the configuration made no
difference, the block's differences would as well have had the other sign, in all figures at once
(as in estimates.py). The most extreme figure is held against the most extreme one of every pattern
of signs (Westfall and Young 1993, single step): what the figures share is not paid for twice, and
the smallest p is 2 / 2^blocks however many they are.

The level is spent over the looks (Lan and DeMets 1983). What a look may spend is whole patterns,
of those that its own blocks allow, and the chances of the looks are added up, so the bound holds
whatever the looks have in common.

An interval is the same test, asked of another centre than zero (Hartigan 1969).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit  # scipy.stats takes a second to import

from harness.stats import estimates
from harness.stats.estimates import Floats

STEEPNESS = 3
"""The share of the level spent by look n of N is (n / N)^3: little early, where few patterns are to
be had, and the most at the end (Kim and DeMets 1987; near to what O'Brien and Fleming spend)."""

EARLY = 10
"""Half of the level is spent by this block, if more are planned: who allows for noise by planning
many blocks shall not wait for the quiet figures as well."""

_MOST_PATTERNS = 4096  # all that there are of 13 blocks
_SEED = 20_261_128  # for samples of them only; any number would do
_TIE = 1e-9
"""Two statistics closer than this, relatively, are equal: sums differ in their last bits."""


@dataclass(frozen=True)
class Shown:
    """What the looks have shown of one figure: the centres that none of them ruled out, and the
    level at which zero is just not among them. `p` <= level and zero outside of the interval are
    the same thing; both hold for all figures of the family and all looks together."""

    low: float = -math.inf
    high: float = math.inf
    p: float = 1.0


@dataclass(frozen=True)
class Look:
    """The blocks up to one, and how many of so many patterns of signs may be called extreme."""

    blocks: int
    rejected: int
    patterns: int


def shown(table: Floats, planned: int, level: float) -> list[Shown]:
    """What is known of each figure after all looks so far; one may stop after any.

    `table` has a row a block, in their order, and a column a figure: NaN where a block has no
    pair. That a figure's true centre is outside of its interval, at any look, has a chance of
    `level` at most; that it is so for any figure, likewise, exactly so among all those that did not
    change. Where looks contradict one another nothing is known.
    """
    every = [found for _, found in course(table, planned, level)]
    return every[-1] if every else [Shown() for _ in range(table.shape[1])]


def course(table: Floats, planned: int, level: float) -> Iterator[tuple[int, list[Shown]]]:
    """What was known after each look, with the number of blocks then."""
    found = [Shown() for _ in range(table.shape[1])]
    for look in looks(table, planned, level):
        here = _Seen.of(table[: look.blocks]).shown(look, level)
        found = [
            Shown(max(was.low, now.low), min(was.high, now.high), min(was.p, now.p))
            for was, now in zip(found, here, strict=True)
        ]
        yield look.blocks, [Shown() if each.low > each.high else each for each in found]


def looks(table: Floats, planned: int, level: float) -> list[Look]:
    """Those that can reject anything. Blocks without any pair are counted as planned, but give no
    patterns."""
    there = np.asarray(~np.isnan(table).all(axis=1))
    planned = max(planned, len(table))
    spent, found = 0.0, []
    for block in range(1, len(table) + 1):
        patterns = _patterns(int(there[:block].sum()))
        rejected = math.floor((level * _share(block, planned) - spent) * patterns + _TIE)
        if rejected > 0:
            spent += rejected / patterns
            found.append(Look(block, rejected, patterns))
    return found


def _share(block: int, planned: int) -> float:
    """Of the level, that is spent by a block, at most."""
    plans = (min(EARLY, planned), planned)
    return sum(min(1.0, block / plan) ** STEEPNESS for plan in plans) / len(plans)


def first(planned: int, level: float) -> int | None:
    """Blocks after which a figure can be decided at the earliest; None if not within the plan."""
    every = planned_looks(planned, level)
    return every[0].blocks if every else None


def planned_looks(blocks: int, level: float) -> list[Look]:
    """The looks of so many blocks, if each of them has a pair."""
    return looks(np.zeros((blocks, 1)), blocks, level)


def likely(gap: float, figures: int, planned: int, level: float, most: int) -> int:
    """Blocks with which a mean is told, 4 times of 5, from what is `gap` standard deviations of a
    block away from it: by Student's t, at the level of that look shared among the figures. If they
    are more than were planned, as many are taken for planned; most + 1 for more than `most`."""
    blocks = np.arange(1, most + 1)
    distances = _distances(figures, planned, level, most)
    enough = np.flatnonzero(np.isfinite(distances) & (distances <= gap * np.sqrt(blocks)))
    return int(blocks[enough[0]]) if len(enough) else most + 1


@lru_cache(maxsize=32)
def _distances(figures: int, planned: int, level: float, most: int) -> Floats:
    """Of a mean, in its standard errors, that it is told at, by the number of blocks from 1."""
    at_plan = {look.blocks: look for look in planned_looks(planned, level)}
    at_end = {
        n: look for n in range(planned + 1, most + 1) for look in planned_looks(n, level)[-1:]
    }
    found = np.full(most, math.inf)
    for blocks, look in (at_plan | at_end).items():
        if blocks <= most:
            share = look.rejected / look.patterns / (2 * figures)
            found[blocks - 1] = ndtri(0.8) - stdtrit(blocks - 1, share)
    return found


def _patterns(blocks: int) -> int:
    """How many patterns of signs are tried."""
    return min(1 << max(blocks - 1, 0), _MOST_PATTERNS)


@lru_cache(maxsize=32)
def _signs(blocks: int) -> Floats:
    """Patterns of signs, a row each, the observed one (all +1) first. A pattern and its opposite
    make the same statistic, so of all that there are every second will do; of many blocks it is a
    seeded sample, which holds the level as well, the observed pattern being one of it."""
    if _patterns(blocks) == 2 ** (blocks - 1):
        every = estimates.signs(blocks)
        return every[every[:, 0] > 0]
    drawn = np.random.default_rng(_SEED).choice([1.0, -1.0], size=(_patterns(blocks), blocks))
    drawn[0] = 1.0
    return drawn


@dataclass(frozen=True)
class _Seen:
    """The blocks up to a look. Arrays have a column a figure."""

    signs: Floats  # patterns x blocks
    there: Floats  # blocks x figures: 1 where there is a pair, else 0
    pairs: Floats  # their number
    table: Floats  # differences, 0 where there is none
    centre: Floats  # their mean
    away: Floats  # what they are away from it, 0 where there is none

    @classmethod
    def of(cls, table: Floats) -> _Seen:
        table = table[~np.isnan(table).all(axis=1)]
        there = (~np.isnan(table)).astype(np.float64)
        whole, pairs = np.nan_to_num(table), there.sum(axis=0)
        centre = whole.sum(axis=0) / np.maximum(pairs, 1)
        return cls(_signs(len(table)), there, pairs, whole, centre, (whole - centre) * there)

    def shown(self, look: Look, level: float) -> list[Shown]:
        """What this look shows, with its own share of the level."""
        low, high = self._ends()
        zero = np.where(self.centre > 0, (low <= 0).sum(axis=0), (high >= 0).sum(axis=0))
        p = np.minimum(1.0, zero / look.rejected * level)
        rank = look.rejected
        lowest = np.partition(low, rank, axis=0)[rank]
        highest = np.partition(high, -1 - rank, axis=0)[-1 - rank]
        return [
            Shown(float(a), float(b), float(c)) if n else Shown()
            for a, b, c, n in zip(lowest, highest, p, self.pairs, strict=True)
        ]

    def _ends(self) -> tuple[Floats, Floats]:
        """How far down and up a centre may lie until a pattern is less extreme than what was
        observed, patterns x figures.

        The statistic of a figure and a centre is (sum of signs x (difference - centre))^2 / sum of
        (difference - centre)^2, which grows with Student's t and needs no variance. A pattern is
        as extreme as the observed one if its own statistic is as large, just if the centre lies
        between the means of the blocks that it flips and of those that it does not; or if the
        largest one of another figure is, up to a distance from the mean that follows from it.
        """
        sums, counts = self.signs @ self.table, self.signs @ self.there
        with np.errstate(invalid="ignore", divide="ignore"):
            flipped = (self.table.sum(axis=0) - sums) / (self.pairs - counts)
            others = (self.table.sum(axis=0) + sums) / (self.pairs + counts)
            reach = np.sqrt((self.away**2).sum(axis=0) / self.pairs) * self._steps()
        every = (counts == self.pairs) | (counts == -self.pairs) | np.isnan(reach)
        low = np.minimum(np.minimum(flipped, others), self.centre - reach)
        high = np.maximum(np.maximum(flipped, others), self.centre + reach)
        low, high = np.where(every, -np.inf, low), np.where(every, np.inf, high)
        tie = _TIE * np.abs(self.table).max(axis=0)
        return np.where(np.abs(low) <= tie, 0.0, low), np.where(np.abs(high) <= tie, 0.0, high)

    def _steps(self) -> Floats:
        """The distance up to which another figure's statistic is as large, in standard deviations:
        that of n pairs at a distance of k of them is n k^2 / (k^2 + 1)."""
        rival = self._rivals() * (1 + _TIE)
        return np.sqrt(np.where(rival < self.pairs, rival / (self.pairs - rival), np.inf))

    def _rivals(self) -> Floats:
        """The largest statistic of all other figures, patterns x figures.

        Theirs about zero, which makes the test exact, and about their own means as well: a figure
        that changed is no rival about zero, though its noise is as large as ever.
        """
        each = np.maximum(self._statistic(self.table), self._statistic(self.away))
        if each.shape[1] < 2:
            return np.zeros_like(each)
        rows, largest = np.arange(len(each)), each.argmax(axis=1)
        rivals = np.repeat(each[rows, largest][:, None], each.shape[1], axis=1)
        each[rows, largest] = -1.0
        rivals[rows, largest] = each.max(axis=1)
        return rivals

    def _statistic(self, table: Floats) -> Floats:
        squares = (table**2).sum(axis=0)
        return (self.signs @ table) ** 2 / np.where(squares > 0, squares, 1.0)
