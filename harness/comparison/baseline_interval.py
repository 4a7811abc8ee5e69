"""The verdict on a run beside a series of earlier ones: is it where the next one would lie?

Two runs of the same thing differ by more than their boots let expect, since what is set up once a
run varies, too. A series knows by how much; so here a run is the sample, and the interval is that
of a prediction: mean +- t s sqrt(1 + 1 / K), with K - 1 degrees of freedom, on the logarithms of
the K runs' medians.

That holds for runs that vary normally. For others, each run of the baseline is predicted by the
rest of them and the new one in the same way, and the new one has to be farther off than all but
ONE_OFF of them: if runs are alike in whatever way they vary, so much happens to 1 + ONE_OFF of
K + 1, whichever they are (conformal prediction: Vovk, Gammerman and Shafer, 2005).
docs/calibration/levels.md has what both come to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t without the overhead of scipy.stats

from harness.comparison.baseline import FEWEST, LAST, Baseline, Earlier
from harness.comparison.verdict import Change, Figure, badness, decide, families, figures
from harness.records.boots import Boots, Name
from harness.stats import permutation_test
from harness.stats.estimates import Floats
from harness.stats.permutation_test import Shift

LEVEL = 0.05
"""The chance that a run like the others is called changed in any primary figure, if runs vary
normally."""

ONE_OFF = 1
"""Runs of the baseline that may lie farther off than a change: a single bad one must not blind the
gate for as long as it is remembered."""


def judge(series: Sequence[Earlier], new: Boots) -> tuple[Change, ...]:
    """Every figure of `new` that the series, the oldest run first, still has,
    the worst first. Primary figures are decided together, and so are the others."""
    split = families(figures(still_there(series), as_block(new)))
    changes = [change for family in split for change in _decide(family, series)]
    return tuple(sorted(changes, key=badness))


def still_there(series: Sequence[Earlier]) -> Boots:
    """Each run's medians, its place in the series being the block; not of figures that none of the
    last runs has."""
    every: dict[Name, dict[int, float]] = {}
    for place, run in enumerate(series):
        for name, value in run.medians.items():
            every.setdefault(name, {})[place] = value
    return {name: of for name, of in sorted(every.items()) if max(of) >= len(series) - LAST}


def as_block(boots: Boots) -> Boots:
    """A run by itself, as `still_there` has those of a series."""
    return {name: {0: median(of.values())} for name, of in boots.items()}


def _decide(family: Sequence[Figure], series: Sequence[Earlier]) -> list[Change]:
    baselines = [Baseline.of(figure.base, figure.workload, series) for figure in family]
    held = [
        replace(figure, base=dict(baseline.values))
        for figure, baseline in zip(family, baselines, strict=True)
    ]
    placed = [place(figure.base, *figure.new.values()) for figure in held]
    return [
        _change(figure, baseline, where.shift, chance)
        for figure, baseline, where, chance in zip(
            held, baselines, placed, chances(placed), strict=True
        )
    ]


@dataclass(frozen=True)
class Placed:
    """Where a run lies beside its baseline."""

    shift: Shift
    p: float  # the chance of lying so far off, two-sided
    others: Mapping[int, float]  # the same for each run of the baseline, beside the rest


@dataclass(frozen=True)
class Chance:
    """A placed figure's p, adjusted for its family, and how many runs of the baseline lie as far
    off, where that is why the p is no smaller."""

    p: float
    as_far: int = 0


def chances(family: Sequence[Placed]) -> list[Chance]:
    """For each figure of a family; 1 for one whose baseline is too short."""
    tested = [each for each in family if len(each.others) >= FEWEST]
    by_run: dict[int, float] = {}
    for each in tested:
        for run, p in each.others.items():
            by_run[run] = min(p, by_run.get(run, 1.0))
    adjusted = iter(holm([each.p for each in tested]))
    return [
        _chance(next(adjusted), each.p, by_run) if len(each.others) >= FEWEST else Chance(1.0)
        for each in family
    ]


def _chance(adjusted: float, own: float, by_run: Mapping[int, float]) -> Chance:
    as_far = sum(p <= own for p in by_run.values())
    if as_far <= ONE_OFF or adjusted >= LEVEL:
        return Chance(adjusted)
    return Chance(max(adjusted, (1 + as_far) / (1 + len(by_run))), as_far)


def place(base: Mapping[int, float], value: float) -> Placed:
    """Where `value` lies beside the runs of a baseline."""
    scaled, back = permutation_test.scaled(list(base.values()), [value])
    away, runs = float(scaled[-1] - scaled[:-1].mean()), len(base)
    if runs < 2:
        return Placed(Shift(back(away), 0.0, math.inf, math.inf, (runs, 1)), 1.0, {})
    spread = float(scaled[:-1].std(ddof=1))
    reach = float(stdtrit(runs - 1, 1 - LEVEL / 2)) * spread * math.sqrt(1 + 1 / runs)
    shift = Shift(back(away), back(away - reach), back(away + reach), spread, (runs, 1))
    *others, own = (float(p) for p in _ps(scaled))
    return Placed(shift, own, dict(zip(base, others, strict=True)))


def _ps(values: Floats) -> Floats:
    """The two-sided p of each value, predicted by all the others."""
    count = len(values)
    away = (values - values.mean()) * count / (count - 1)  # from the mean of the others
    of_others = ((values - values.mean()) ** 2).sum() - away**2 * (count - 1) / count
    wide = np.sqrt(np.maximum(of_others, 0.0) / (count - 2) * count / (count - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(count - 2, -np.abs(away) / wide)
    return np.asarray(np.where(away == 0, 1.0, p), dtype=np.float64)


def _change(figure: Figure, baseline: Baseline, shift: Shift, chance: Chance) -> Change:
    why = ""
    verdict = decide(figure, shift, chance.p < LEVEL) if baseline.enough else "undecided"
    if not baseline.enough:
        why = baseline.too_few()
    elif verdict == "undecided" and chance.as_far:
        why = (
            f"{chance.as_far} runs of the baseline lie as far off in some figure: settle it by "
            "interleaving both"
        )
    elif verdict == "undecided":
        why = f"a run varies by {100 * shift.scale:.1f} %: settle it by interleaving both"
    return figure.change(shift, chance.p, verdict, why, baseline=str(baseline))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p by Holm's step-down procedure (1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    found, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        found[index] = largest
    return found
