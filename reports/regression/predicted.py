"""The verdict on a run beside a series of earlier ones: is it where the next one would lie?

Two runs of the same thing differ by more than their boots let expect, since what is set up once a
run varies, too. A series knows by how much; so here a run is the sample, and the interval is that
of a prediction: mean +- t s sqrt(1 + 1 / K), with K - 1 degrees of freedom, on the logarithms of
the K runs' medians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from reports import shifts
from reports.regression.verdict import Change, Figure, badness, decide, families, figures
from reports.shifts import Shift

LEVEL = 0.05
"""The chance that a run like the others is called changed in any primary figure."""

FEWEST, LAST = 5, 20
"""A series of fewer runs is no baseline; of more, the last ones are."""


def judge(series: Sequence[pd.DataFrame], new: pd.DataFrame) -> tuple[Change, ...]:
    """Every figure of `new` that the series has, the worst first; the frames are frames.per_boot of
    the runs. Primary figures are decided together by Holm's procedure, and so are the others."""
    split = families(figures(as_blocks(series), as_blocks([new])))
    changes = [change for family in split for change in _decide(family)]
    return tuple(sorted(changes, key=badness))


def as_blocks(runs: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """A row a run and figure, the median of its boots; the run takes the place of the block."""
    keys = ["path", "workload", "metric"]
    medians = [run.groupby(keys, as_index=False)[["value"]].median() for run in runs]
    return pd.concat([each.assign(block=number) for number, each in enumerate(medians)])


def _decide(family: Sequence[Figure]) -> list[Change]:
    placed = [_placed(figure) for figure in family]
    adjusted = holm([p for _, p in placed])
    return [
        _change(figure, shift, p)
        for figure, (shift, _), p in zip(family, placed, adjusted, strict=True)
    ]


def _change(figure: Figure, shift: Shift, p: float) -> Change:
    runs = len(figure.base)
    verdict = decide(figure, shift, p < LEVEL) if runs >= FEWEST else "undecided"
    why = ""
    if runs < FEWEST:
        why = f"no baseline: {FEWEST} runs are needed, the series has {runs}"
    elif verdict == "undecided":
        why = f"a run varies by {100 * shift.scale:.1f} %: settle it by interleaving both"
    base, (new,) = list(figure.base.values()), figure.new.values()
    return Change(
        figure.path, figure.workload, figure.metric, figure.primary, float(np.median(base)), new,
        shift, p, verdict, why,
    )  # fmt: skip


def _placed(figure: Figure) -> tuple[Shift, float]:
    """Where the new run lies, and the chance of lying so far off."""
    (value,) = figure.new.values()
    scaled, back = shifts.scaled(list(figure.base.values()), [value])
    base, new = scaled[:-1], float(scaled[-1])
    away, runs = new - float(base.mean()), len(base)
    if runs < 2:
        return Shift(back(away), 0.0, math.inf, math.inf, (runs, 1)), 1.0
    spread = float(base.std(ddof=1))
    wide = spread * math.sqrt(1 + 1 / runs)
    reach = float(student.ppf(1 - LEVEL / 2, runs - 1)) * wide
    p = 2 * float(student.sf(abs(away) / wide, runs - 1)) if wide else float(away == 0)
    return Shift(back(away), back(away - reach), back(away + reach), spread, (runs, 1)), p


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p by Holm's step-down procedure (1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    found, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        found[index] = largest
    return found
