"""What is said of one figure in two configurations, whichever way its chance was reckoned."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from harness.measure.record import IDLE
from reports.frames import metric_of
from reports.shifts import Shift

Verdict = Literal["regression", "improvement", "no change", "undecided"]

MARGINS = {"throughput": 0.03, "rtt_p50": 0.03, "exits_per_packet": 0.10}
"""The primary metrics, with the relative change that is still none. Fewer than these are compared
fairly: each further one costs power."""

OTHER_MARGIN = 0.10

MOST_BOOTS = 100
"""More than so many boots are no advice."""


@dataclass(frozen=True)
class Change:
    """One metric of one path and workload in two configurations. `p` is adjusted for the
    comparisons made."""

    path: str
    workload: str
    metric: str
    primary: bool  # does this figure decide?
    base: float  # medians over boots
    new: float
    shift: Shift
    p: float
    verdict: Verdict
    why: str  # of an undecided one
    exits: tuple[str, ...] = ()  # what changed in the exits of this path, most first
    causes: tuple[str, ...] = ()  # what that points to
    baseline: str = ""  # the runs of a series that it was held against, in words

    @property
    def name(self) -> str:
        """ "sriov/tcp-tx/throughput"."""
        return f"{self.path}/{self.workload}/{self.metric}"

    @property
    def worse(self) -> float:
        """The change in the bad direction, as a log ratio: above 0 is worse."""
        return worsening(self.metric, self.shift.ratio)


RANK: dict[Verdict, int] = {"regression": 0, "undecided": 1, "improvement": 2, "no change": 3}


def badness(change: Change) -> tuple[bool, int, float]:
    """A key to sort by, the worst of the primary ones first."""
    return not change.primary, RANK[change.verdict], -change.worse


def worsening(metric: str, ratio: float) -> float:
    """log(ratio), turned so that above 0 is worse."""
    log = math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 1)
    return -log if metric_of(metric).better == "higher" else log


def margin_of(metric: str) -> float:
    """The change that is still none, as a log ratio."""
    return math.log1p(MARGINS.get(metric, OTHER_MARGIN))


def decide(metric: str, shift: Shift, beyond_chance: bool) -> Verdict:
    """A change counts if it is beyond chance and beyond the margin; none is shown if the whole
    interval lies within it."""
    worse, margin = worsening(metric, shift.ratio), margin_of(metric)
    if beyond_chance and abs(worse) > margin:
        return "regression" if worse > 0 else "improvement"
    ends = [abs(worsening(metric, end)) for end in (shift.low, shift.high)]
    return "no change" if max(ends) <= margin else "undecided"


def gap_of(metric: str, shift: Shift) -> float:
    """How far the figure lies from its margin, as a log ratio: what more boots must tell apart."""
    size, margin = abs(worsening(metric, shift.ratio)), margin_of(metric)
    return max(abs(size - margin), margin / 2) if math.isfinite(size) else margin


def advice(shift: Shift, needed: int, unit: str) -> str:
    """Why a figure cannot be told, and how many more boots of each side would do."""
    have = min(shift.boots)
    noise = f"a {unit} varies by {100 * shift.scale:.1f} %"
    if needed > MOST_BOOTS:
        return f"too noisy: {noise}"
    more = max(needed - have, 1)
    return f"{have} {unit}s are too few where {noise}: {more} more of each would decide it"


@dataclass(frozen=True)
class Figure:
    """A metric of a path and workload, by block, on both sides."""

    path: str
    workload: str
    metric: str
    base: dict[int, float]
    new: dict[int, float]
    primary: bool


def figures(
    base: pd.DataFrame, new: pd.DataFrame, deciding: Collection[str] = ()
) -> Iterator[Figure]:
    """The figures of direction that both have, and that are more than zeros; the frames are
    frames.per_boot of the two sides. Those named in `deciding` are primary; if none is named, all
    of the metrics in MARGINS."""
    sides = [_by_figure(frame) for frame in (base, new)]
    for (path, workload, metric), values in sides[0].items():
        other = sides[1].get((path, workload, metric))
        if other is None or workload == IDLE or metric_of(metric).better == "none":
            continue
        if any(values.values()) or any(other.values()):
            named = f"{path}/{workload}/{metric}" in deciding
            primary = named if deciding else metric in MARGINS
            yield Figure(path, workload, metric, values, other, primary)


def _by_figure(boots: pd.DataFrame) -> dict[tuple[str, str, str], dict[int, float]]:
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    columns = ["path", "workload", "metric", "block", "value"]
    for path, workload, metric, block, value in boots[columns].itertuples(index=False, name=None):
        found.setdefault((path, workload, metric), {})[int(block)] = float(value)
    return found


def parted(every: Iterable[Figure]) -> tuple[list[Figure], list[Figure]]:
    """(those that decide, the others)."""
    both = list(every)
    return [f for f in both if f.primary], [f for f in both if not f.primary]
