"""What the figures of a comparison share: how much worse, in per cent, on one axis; and how each
verdict looks.

Throughput that falls and a round trip that grows are both worse. So worse is one direction on every
axis, its name stands at the axis, and numbers there have no sign of their own: an axis of plain
changes would have half of the regressions on either side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.comparison.verdict import Verdict
from harness.core.metrics import metric_of
from harness.stats.permutation_test import Shift
from reports.run import style

EVEN = 10.0
"""Per cent, either way, up to which a wide axis is even; beyond, it goes by powers of ten."""
EDGE = 1000.0
"""Per cent: an axis ends there, so that what came from nothing does not press all else together."""
_NARROW = 30.0  # an axis up to there is even throughout
_TICKS = (3, 10, 30, 100, 300, 1000)


@dataclass(frozen=True)
class Look:
    """How a verdict is drawn: by its marker as well as its colour."""

    colour: str
    marker: str  # matplotlib's
    filled: bool = True

    @property
    def keywords(self) -> dict[str, Any]:
        return {
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.4,
        }


LOOKS: dict[Verdict, Look] = {
    "regression": Look("#a33b00", ">"),
    "undecided": Look(style.INK, "D", filled=False),
    "improvement": Look("#0072b2", "<"),
    "no change": Look(style.GREY, "o"),
}
"""The triangles point to the side that is worse, and to the one that is better. Verdicts on what
one side alone has are not here: they have no mark, since there is nothing to put it at."""
ABSENT = "#a33b00"
"""The words in a mark's place."""


def worse_percent(metric: str, ratio: float) -> float:
    """How much worse new / base is, per cent of base: below 0 is better. 12 for a throughput that
    is 12 % lower, and for a round trip that is 12 % longer."""
    change = 100 * (ratio - 1)
    return -change if metric_of(metric).better == "higher" else change


def band(metric: str, margin: float) -> tuple[float, float]:
    """A margin, a log ratio, as (better, worse) ends in per cent; infinite if nothing is beyond."""
    if math.isinf(margin):
        return -math.inf, math.inf
    low, high = sorted(worse_percent(metric, math.exp(end)) for end in (-margin, margin))
    return low, high


def reach(metric: str, shift: Shift) -> tuple[float, float]:
    """The ends of an interval in per cent, the better one first."""
    low, high = sorted(worse_percent(metric, end) for end in (shift.low, shift.high))
    return low, high


@dataclass(frozen=True)
class Scale:
    """An axis of per cent worse."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """Wide enough for these, as far as they are finite, but not beyond EDGE."""
        inside = [min(max(value, -EDGE), EDGE) for value in values if math.isfinite(value)]
        low, high = min(inside, default=0.0), max(inside, default=0.0)
        room = 1.1 if max(-low, high) <= _NARROW / 1.1 else 1.4  # by powers, that is as little
        return cls(min(room * low, -5.0), max(room * high, 5.0))

    @property
    def even(self) -> bool:
        return max(-self.low, self.high) <= _NARROW

    @property
    def keywords(self) -> dict[str, Any]:
        """For matplotlib's set_xscale or set_yscale."""
        if self.even:
            return {"value": "linear"}
        return {"value": "symlog", "linthresh": EVEN, "linscale": 1.0}

    def within(self, value: float) -> float:
        """The value, or the end of the axis that it lies beyond."""
        return min(max(value, self.low), self.high)

    def ticks(self) -> tuple[Sequence[float], Sequence[str]]:
        """Places and numbers, which have no sign."""
        step = 5 if max(-self.low, self.high) <= 15 else 10
        sizes: Sequence[float] = range(step, int(_NARROW) + 1, step) if self.even else _TICKS[1:]
        places = [0.0, *(sign * size for size in sizes for sign in (-1, 1))]
        kept = sorted(place for place in places if self.low <= place <= self.high)
        return kept, [f"{abs(place):g}" for place in kept]

    @property
    def note(self) -> str:
        """What a reader must know of the axis."""
        return "" if self.even else f"even up to {EVEN:g} %, then by powers of ten"
