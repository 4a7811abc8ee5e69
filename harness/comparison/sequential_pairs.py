"""The verdict on two configurations that were interleaved: a block has both, and is a pair.

Unlike two runs, the pairs may be looked at after each block, until all figures are decided.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.comparison.verdict import (
    MOST_BOOTS,
    Change,
    Figure,
    Verdict,
    advice,
    badness,
    decide,
    families,
    figures,
    gap_of,
)
from harness.records.boots import Boots
from harness.stats import estimates, sequential
from harness.stats.permutation_test import Shift
from harness.stats.sequential import Shown

LEVEL = 0.05
"""The chance, at most, that of two equal configurations any primary figure is ever called
different, before the margins; docs/calibration says how often they were. It is also the chance
that an interval is ever wrong."""


def judge(
    base: Boots, new: Boots, planned: int, deciding: Collection[str] = ()
) -> tuple[Change, ...]:
    """Every figure that both sides have, the worst first, looked at after each of its blocks, of
    which so many were `planned`; the sides have the same blocks.
    Each family, primary and others, is held to LEVEL; `deciding` as for verdict.figures."""
    split = families(figures(base, new, deciding))
    changes = [change for family in split for change in _decide(family, planned)]
    return tuple(sorted(changes, key=badness))


@dataclass(frozen=True)
class Step:
    """What a look has shown of a figure."""

    blocks: int  # up to this one
    shift: Shift
    verdict: Verdict


@dataclass(frozen=True)
class Course:
    """How what is known of a figure grew, block by block."""

    figure: Figure
    pairs: Mapping[int, float]  # block -> new / base
    steps: Sequence[Step]  # a look each, in order; none before the first that can decide

    @property
    def verdict(self) -> Verdict:
        """The last look's."""
        return self.steps[-1].verdict if self.steps else "undecided"


def courses(
    base: Boots, new: Boots, planned: int, deciding: Collection[str] = ()
) -> Iterator[Course]:
    """The course of every figure that has a pair, of which `judge`, with the same arguments, tells
    the end."""
    for family in families(figures(base, new, deciding)):
        pairs = _paired(family)
        found = list(sequential.course(_table(pairs), planned, LEVEL))
        for column, each in enumerate(pairs):
            of_blocks = each.paired.differences
            steps = [
                _step(each, blocks, shown[column])
                for blocks, shown in found
                if min(of_blocks) < blocks
            ]
            ratios = {block: each.paired.back(value) for block, value in of_blocks.items()}
            yield Course(each.figure, ratios, steps)


def _step(pairs: _Pairs, blocks: int, shown: Shown) -> Step:
    shift = pairs.shift(shown, blocks)
    return Step(blocks, shift, decide(pairs.figure, shift, shown.p <= LEVEL))


@dataclass(frozen=True)
class _Pairs:
    """A figure, with the differences of its blocks."""

    figure: Figure
    paired: estimates.Paired

    @property
    def common(self) -> Figure:
        """The figure, in the blocks that both sides have."""
        both = sorted(self.figure.base.keys() & self.figure.new.keys())
        base, new = self.figure.base, self.figure.new
        return replace(
            self.figure,
            base={block: base[block] for block in both},
            new={block: new[block] for block in both},
        )

    def shift(self, shown: Shown, blocks: float = math.inf) -> Shift:
        """The change in the blocks up to one, within what was `shown` by then."""
        back = self.paired.back
        differences = [of for block, of in self.paired.differences.items() if block < blocks]
        middle = min(max(estimates.hodges_lehmann(differences), shown.low), shown.high)
        return Shift(
            ratio=back(middle),
            low=back(shown.low),
            high=back(shown.high),
            scale=float(np.std(differences, ddof=1)) if len(differences) > 1 else math.inf,
            boots=(len(differences),) * 2,
            bounded=math.isfinite(shown.low) and math.isfinite(shown.high),
        )


def _paired(family: Sequence[Figure]) -> list[_Pairs]:
    return [
        _Pairs(figure, estimates.paired(figure.new, figure.base))
        for figure in family
        if figure.new.keys() & figure.base.keys()
    ]


def _decide(family: Sequence[Figure], planned: int) -> list[Change]:
    pairs = _paired(family)
    shown = sequential.shown(_table(pairs), planned, LEVEL)
    return [
        _change(each, found, planned, len(pairs)) for each, found in zip(pairs, shown, strict=True)
    ]


def _table(pairs: Sequence[_Pairs]) -> estimates.Floats:
    """Their differences: a row a block, a column a figure, NaN where a block has no pair."""
    last = max((block for each in pairs for block in each.paired.differences), default=-1)
    return np.array(
        [
            [each.paired.differences.get(block, math.nan) for each in pairs]
            for block in range(last + 1)
        ]
    ).reshape(last + 1, len(pairs))


def _change(pairs: _Pairs, shown: Shown, planned: int, family: int) -> Change:
    figure, shift = pairs.figure, pairs.shift(shown)
    verdict = decide(figure, shift, shown.p <= LEVEL)
    why = (
        advice(shift, needed(shift, figure, planned, family), "pair")
        if verdict == "undecided"
        else ""
    )
    change = pairs.common.change(shift, shown.p, verdict, why)
    return replace(change, margin=figure.margin)  # the one that it was held to


def needed(shift: Shift, figure: Figure, planned: int, family: int) -> int:
    """Blocks with which a figure of a family would be decided, about."""
    gap = gap_of(figure, shift) / shift.scale if shift.scale else math.inf
    return sequential.likely(gap, family, planned, LEVEL, MOST_BOOTS)
