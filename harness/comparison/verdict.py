"""What is said of one figure in two configurations, whichever way its chance was reckoned."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.core.metrics import Margin, metric_of
from harness.records.boots import Boots
from harness.records.trial import IDLE
from harness.stats.permutation_test import Shift

Verdict = Literal[
    "not measured",
    "not asked for",
    "regression",
    "undecided",
    "improvement",
    "only in new",
    "no change",
]

RANK: dict[Verdict, int] = {verdict: rank for rank, verdict in enumerate(get_args(Verdict))}
"""What is told first: a side that gave no figure at all, since nothing can be said of that."""

LOST: tuple[Verdict, ...] = ("not measured", "not asked for")
"""BASE has the figure and NEW has not: it failed to give it, or was not asked to."""

WHOLE = "every figure"
"""In the place of a metric: nothing is there of a path and workload, on neither side."""


MOST_BOOTS = 100
"""More than so many boots are no advice."""


@dataclass(frozen=True)
class Change:
    """One metric of one path and workload in two configurations. `p` is adjusted for the
    comparisons made. What is not there is NaN: a side without the figure, and all that is reckoned
    from both."""

    path: str
    workload: str
    metric: str
    primary: bool  # does this figure decide?
    base: float  # medians over boots
    new: float
    shift: Shift
    p: float
    verdict: Verdict
    why: str  # of an undecided one, and of one that a side lacks
    margin: float  # the change that is still none, as a log ratio
    exits: tuple[str, ...] = ()  # what changed in the exits of this path, most first
    causes: tuple[str, ...] = ()  # what that points to
    baseline: str = ""  # the runs of a series that it was held against, in words

    @property
    def name(self) -> str:
        """ "sriov/tcp-tx/throughput"."""
        return f"{self.path}/{self.workload}/{self.metric}"

    @property
    def both(self) -> bool:
        """Could the two sides be compared?"""
        return not math.isnan(self.shift.ratio)

    @property
    def worse(self) -> float:
        """The change in the bad direction, as a log ratio: above 0 is worse, and nothing is worse
        than no figure."""
        return worsening(self.metric, self.shift.ratio) if self.both else math.inf

    @property
    def beyond(self) -> bool:
        """Is it worse by more than its margin, chance or not?"""
        return self.both and self.worse > self.margin


def badness(change: Change) -> tuple[bool, int, float]:
    """A key to sort by, the worst of the primary ones first."""
    return not change.primary, RANK[change.verdict], -change.worse


def worsening(metric: str, ratio: float) -> float:
    """log(ratio), turned so that above 0 is worse."""
    log = math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 1)
    return -log if metric_of(metric).better == "higher" else log


def margin_of(metric: str) -> Margin:
    """The change of a metric that is still none."""
    return metric_of(metric).margin


@dataclass(frozen=True)
class Figure:
    """A metric of a path and workload, by block, on both sides; a side may lack it."""

    path: str
    workload: str
    metric: str
    base: Mapping[int, float]
    new: Mapping[int, float]
    primary: bool

    @property
    def name(self) -> str:
        """ "sriov/tcp-tx/throughput"."""
        return f"{self.path}/{self.workload}/{self.metric}"

    @property
    def still(self) -> bool:
        """Is it zero in every block of both sides?"""
        return not any(self.base.values()) and not any(self.new.values())

    @property
    def margin(self) -> float:
        """The change that is still none, as a log ratio. Means, not medians: a loss in every third
        boot is one."""
        total = sum(statistics.fmean(side.values()) for side in (self.base, self.new) if side)
        return margin_of(self.metric).ratio(total)

    def lacking(self, verdict: Verdict, why: str) -> Change:
        """What is said of a figure of which there is nothing to compare."""
        boots = len(self.base), len(self.new)
        nothing = Shift(math.nan, math.nan, math.nan, math.nan, boots, bounded=False)
        return self.change(nothing, math.nan, verdict, why)

    def change(
        self, shift: Shift, p: float, verdict: Verdict, why: str = "", baseline: str = ""
    ) -> Change:
        """What is said of it; the arguments as the fields of a Change."""
        base, new = (
            statistics.median(side.values()) if side else math.nan for side in (self.base, self.new)
        )
        return Change(
            path=self.path,
            workload=self.workload,
            metric=self.metric,
            primary=self.primary,
            base=base,
            new=new,
            shift=shift,
            p=p,
            verdict=verdict,
            why=why,
            margin=self.margin,
            baseline=baseline,
        )


def decide(figure: Figure, shift: Shift, beyond_chance: bool) -> Verdict:
    """A change counts if it is beyond chance and beyond the margin; none is shown if the whole
    interval lies within it, and there are boots enough for an interval."""
    worse, margin = worsening(figure.metric, shift.ratio), figure.margin
    if beyond_chance and abs(worse) > margin:
        return "regression" if worse > 0 else "improvement"
    ends = [abs(worsening(figure.metric, end)) for end in (shift.low, shift.high)]
    return "no change" if shift.bounded and max(ends) <= margin else "undecided"


def gap_of(figure: Figure, shift: Shift) -> float:
    """How far the figure lies from its margin, as a log ratio: what more boots must tell apart."""
    size, margin = abs(worsening(figure.metric, shift.ratio)), figure.margin
    return max(abs(size - margin), margin / 2) if math.isfinite(size) else margin


def advice(shift: Shift, needed: int, unit: str) -> str:
    """Why a figure cannot be told, and how many more boots of each side would do."""
    have = min(shift.boots)
    if max(shift.boots) < 2:
        return f"1 {unit} is too few: it does not tell by how much {unit}s vary"
    noise = f"a {unit} varies by {100 * shift.scale:.1f} %"
    if needed > MOST_BOOTS:
        return f"too noisy: {noise}"
    more = max(needed - have, 1)
    few = f"{have} {unit} is" if have == 1 else f"{have} {unit}s are"
    return f"{few} too few where {noise}: {more} more of each would decide it"


def every(base: Boots, new: Boots, deciding: Collection[str] = ()) -> Iterator[Figure]:
    """The figures of direction that either side has. Those named in `deciding` are primary; if none
    is named, those whose metric is."""
    for key in {**base, **new}:
        path, workload, metric = key
        if workload == IDLE or metric_of(metric).better == "none":
            continue
        primary = "/".join(key) in deciding if deciding else metric_of(metric).primary
        yield Figure(path, workload, metric, base.get(key, {}), new.get(key, {}), primary)


def figures(base: Boots, new: Boots, deciding: Collection[str] = ()) -> Iterator[Figure]:
    """Those of `every` that both sides have."""
    return (each for each in every(base, new, deciding) if each.base and each.new)


def families(found: Iterable[Figure]) -> tuple[list[Figure], ...]:
    """Figures that pay for their number together: those that decide, the others, and by itself
    each that is zero throughout, since no labelling of its blocks could make a change of it."""
    listed = list(found)
    moving = [figure for figure in listed if not figure.still]
    return (
        [figure for figure in moving if figure.primary],
        [figure for figure in moving if not figure.primary],
        *([figure] for figure in listed if figure.still),
    )
