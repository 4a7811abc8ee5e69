"""Where the level of a series changed: one way to find it, for who draws a history and who judges
by one. Numbers in, indices out.

Runs that follow one another are alike even where nothing changed (a machine that is warm stays so),
and a series that wanders looks as if it had steps. So a step has to explain the series better than
wandering does: both are fitted, and a step must be worth its price.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

SHORTEST = 3
"""Runs that a level lasts at least: one run, or two, that are off are no new level."""
FEWEST = 8
"""With fewer runs no change is sought: their noise could not be told from a step."""
PRICE = 12.0
"""By how much -2 log likelihood must fall for a change to be worth it. Chosen by simulation, so
that of flat series of 10 to 60 runs about 5 in 100 show one where neighbouring runs correlate by
0.5, and 7 where by WANDERING, at the worst; docs/calibration/levels.md has the table."""
WANDERING = 0.7
"""The correlation of neighbouring runs that is believed at most: with more, any step would be
wandering."""
PATIENCE = 4
"""So many further changes are tried before it is believed that none is worth it. A level that came
and went takes two at once."""
_AT_ONCE = 2 * PATIENCE  # changes that are searched for: for few series more are tried
OFF = 3.0
"""Standard deviations from the median of the five runs around it beyond which a run is off: it may
not make a level of its own together with its neighbours."""
FLOOR = 0.002
"""Relative noise of a run that is assumed at least: figures of a virtual clock may repeat exactly,
and a step of any size would then stand out."""

_NORMAL = 1.4826 / math.sqrt(2)  # from the median of absolute differences to a standard deviation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """Runs between two changes; `value` is the median of theirs."""

    first: int  # index of its first run
    last: int
    value: float


def levels(values: Sequence[float]) -> tuple[Level, ...]:
    """The levels of a series, in order; of an empty one, none."""
    starts = (0, *change_points(values)) if len(values) else ()
    ends = (*starts[1:], len(values))
    return tuple(
        Level(start, end - 1, float(np.median(values[start:end])))
        for start, end in zip(starts, ends, strict=False)
    )


def step(before: Level, after: Level) -> str:
    """A change of level, as it is written."""
    if not before.value:
        return "from none"
    return f"{100 * (after.value / before.value - 1):+.1f} %"


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Indices, in order, of the values with which a new level begins; none if nothing changed.

    For each number of changes the levels with the least squared errors of the logarithms, so that
    a step counts by its ratio; of these, the ones whose residuals an autoregression of the first
    order makes the most likely, less PRICE for each change. What such a process explains as well
    is then no change (after Chakar, Lebarbier, Levy-Leduc and Robin, 2017, who segment what is left
    of the series when its autoregression is taken out).
    """
    if len(values) < FEWEST:
        return ()
    signal = clipped(_scaled(np.asarray(values, dtype=np.float64)))
    best, cost, tries = [len(signal)], math.inf, 0
    for ends in _segmentations(signal):
        found = _surprise(_residuals(signal, ends)) + PRICE * (len(ends) - 1)
        best, cost, tries = (ends, found, 0) if found < cost else (best, cost, tries + 1)
        if tries == PATIENCE:
            break
    return tuple(best[:-1])


def _segmentations(signal: Floats) -> Iterator[list[int]]:
    """The ends of the best one, two, three ... levels."""
    yield [len(signal)]
    import ruptures  # late: it takes a second, and most series are too short for it

    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(signal[:, np.newaxis])
    most = len(signal) // SHORTEST - 1
    for changes in range(1, most + 1):
        if changes % _AT_ONCE == 1:  # the search for so many finds those with fewer, too
            search.predict(n_bkps=min(changes + _AT_ONCE - 1, most))
        yield search.predict(n_bkps=changes)


def _residuals(signal: Floats, ends: Sequence[int]) -> Floats:
    parts = np.split(signal, ends[:-1])
    return np.concatenate([part - part.mean() for part in parts])


def _surprise(residuals: Floats) -> float:
    """-2 log likelihood, up to a constant, of an autoregression with the residuals' own correlation
    of neighbours, within 0 and WANDERING."""
    before, after = residuals[:-1], residuals[1:]
    power = float(before @ before)
    along = min(max(float(before @ after) / power, 0.0), WANDERING) if power else 0.0
    first = (1 - along**2) * float(residuals[0]) ** 2
    squares = first + float(((after - along * before) ** 2).sum())
    return len(residuals) * math.log(squares / len(residuals) + FLOOR**2)


def clipped(signal: Floats) -> Floats:
    """The signal with runs that are OFF drawn in. The noise is estimated from neighbours, of which
    a step makes but one pair outstanding."""
    noise = max(FLOOR, _NORMAL * float(np.median(np.abs(np.diff(signal)))))
    near = median_filter(signal, 5, mode="mirror")
    return np.clip(signal, near - OFF * noise, near + OFF * noise)


def _scaled(values: Floats) -> Floats:
    """Logarithms; where some value has none, the values in units of their typical size."""
    if (values > 0).all():
        logarithms: Floats = np.log(values)
        return logarithms
    size = float(np.median(np.abs(values))) or float(np.abs(values).max()) or 1.0
    return values / size
