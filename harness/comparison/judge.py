"""The verdict on a run beside another, figure by figure: boots that are not paired."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from harness.comparison.verdict import (
    Change,
    Figure,
    advice,
    badness,
    decide,
    families,
    figures,
    gap_of,
)
from harness.records.boots import Boots
from harness.stats import permutation_test
from harness.stats.permutation_test import Shift

LEVEL = 0.01
"""The chance that a gate on two equal configurations calls any primary figure changed."""


def judge(base: Boots, new: Boots) -> tuple[Change, ...]:
    """Every figure that both runs have, the worst first.

    The primary ones are decided together, with the chance of any false alarm bounded by LEVEL, and
    so are the others.
    """
    changes = [
        change
        for family in families(figures(base, new))
        for change in _decide(family, _adjusted(family))
    ]
    return tuple(sorted(changes, key=badness))


def _adjusted(pairs: Sequence[Figure]) -> list[float]:
    """Adjusted p, by exchanging blocks between the runs."""
    blocks = [
        sorted({block for pair in pairs for block in getattr(pair, side)})
        for side in ("base", "new")
    ]
    rows = [
        [
            *_row(pair.base, blocks[0], scaled[: len(pair.base)]),
            *_row(pair.new, blocks[1], scaled[len(pair.base) :]),
        ]
        for pair in pairs
        for scaled in [
            permutation_test.scaled(list(pair.base.values()), list(pair.new.values()))[0]
        ]
    ]
    return (
        permutation_test.step_down(np.array(rows, dtype=np.float64), len(blocks[1])) if rows else []
    )


def _row(values: Mapping[int, float], blocks: Iterable[int], scaled: np.ndarray) -> list[float]:
    by_block = dict(zip(values, scaled, strict=True))
    return [float(by_block.get(block, math.nan)) for block in blocks]


def _decide(pairs: Sequence[Figure], ps: Sequence[float]) -> Iterator[Change]:
    for pair, p in zip(pairs, ps, strict=True):
        base, new = list(pair.base.values()), list(pair.new.values())
        shift = permutation_test.shift(base, new, 1 - LEVEL)
        verdict = decide(pair, shift, p < LEVEL)
        why = _advice(pair, shift) if verdict == "undecided" else ""
        yield pair.change(shift, p, verdict, why)


def _advice(pair: Figure, shift: Shift) -> str:
    needed = permutation_test.boots_needed(shift.scale, gap_of(pair, shift))
    return advice(shift, max(needed, fewest()), "boot")


def fewest() -> int:
    """The fewest boots a side whose exact exchange test can reach LEVEL."""
    count = 1
    while 2 / math.comb(2 * count, count) >= LEVEL:
        count += 1
    return count
