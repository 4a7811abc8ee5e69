"""The verdict on two configurations that were interleaved: a block has both, and is a pair.

Unlike two runs, the pairs may be looked at after each block, until all figures are decided.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports import sequential, stats
from reports.regression.verdict import (
    Change,
    Figure,
    advice,
    badness,
    decide,
    families,
    figures,
    gap_of,
)
from reports.shifts import Shift

LEVEL = 0.05
"""The chance, at most, that two equal configurations are ever called different in any primary
figure, before the margins; docs/calibration says how often they were."""


def judge(
    base: pd.DataFrame, new: pd.DataFrame, deciding: Collection[str] = ()
) -> tuple[Change, ...]:
    """Every figure that both sides have, the worst first; the frames are frames.per_boot of them,
    with the same blocks. Each family, primary and others, is held to LEVEL; `deciding` as for
    verdict.figures."""
    split = families(figures(base, new, deciding))
    changes = [change for family in split for change in _decide(family)]
    return tuple(sorted(changes, key=badness))


@dataclass(frozen=True)
class _Pairs:
    """A figure, with the differences of its blocks."""

    figure: Figure
    paired: stats.Paired

    @property
    def differences(self) -> list[float]:
        return list(self.paired.differences.values())


def _decide(family: Sequence[Figure]) -> list[Change]:
    pairs = [
        _Pairs(figure, stats.paired(figure.new, figure.base))
        for figure in family
        if figure.new.keys() & figure.base.keys()
    ]
    evidence = sequential.adjusted([sequential.either_way(each.differences) for each in pairs])
    return [
        _change(each, sequential.chance(found), len(pairs))
        for each, found in zip(pairs, evidence, strict=True)
    ]


def _change(pairs: _Pairs, p: float, family: int) -> Change:
    figure, differences = pairs.figure, pairs.differences
    low, high = sequential.interval(differences, LEVEL)
    shift = Shift(
        ratio=pairs.paired.ratio,
        low=pairs.paired.back(low),
        high=pairs.paired.back(high),
        scale=float(np.std(differences, ddof=1)) if len(differences) > 1 else math.inf,
        boots=(len(differences),) * 2,
        bounded=math.isfinite(low),
    )
    verdict = decide(figure, shift, p <= LEVEL)
    why = advice(shift, needed(shift, figure, family), "pair")
    both = figure.base.keys() & figure.new.keys()
    sides = [
        float(np.median([side[block] for block in both])) for side in (figure.base, figure.new)
    ]
    return Change(
        figure.path, figure.workload, figure.metric, figure.primary, sides[0], sides[1], shift, p,
        verdict, why if verdict == "undecided" else "",
    )  # fmt: skip


def needed(shift: Shift, figure: Figure, family: int) -> int:
    """Blocks with which a figure of a family would be decided, about.

    Wealth grows by log 2 a block at most, and by (effect / scale)^2 / 2 where that is less; what
    is needed is 2 / LEVEL for each figure, and what the shared stakes cost."""
    fewest = math.log(2 * family * len(sequential.STAKES) / LEVEL)
    growth = min(math.log(2), (gap_of(figure, shift) / shift.scale) ** 2 / 2 if shift.scale else 1)
    return math.ceil(fewest / growth) if growth > 0 else 1_000_000
