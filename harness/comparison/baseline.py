"""What a figure of a run is held against: the last runs of the last level of its series.

Levels are those that `history plot` draws (harness.stats.levels), and each figure has its own: a
new driver may change one path and leave the others as they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.comparison.verdict import Change
from harness.core.metrics import metric_of
from harness.records.alike import kind
from harness.records.boots import Name, boots_of
from harness.records.run import Run
from harness.stats.levels import levels, step

FEWEST, LAST = 5, 20
"""Fewer runs are no baseline; of more, the last ones are: what drifts has least of it there."""


@dataclass(frozen=True)
class Earlier:
    """A run of a series, as far as a baseline needs it."""

    day: str  # on which it was made
    kinds: Mapping[str, dict[str, str]]  # workload -> alike.kind
    medians: Mapping[Name, float]  # over boots

    @classmethod
    def of(cls, run: Run) -> Earlier:
        kinds = {workload: kind(run, workload) for workload in run.workloads}
        medians = {name: median(of.values()) for name, of in boots_of(run).items()}
        return cls(run.info.created[:10], kinds, medians)


@dataclass(frozen=True)
class Baseline:
    """The runs that a figure is held against."""

    values: Mapping[int, float]  # the run's place in its series -> its median over boots
    runs: int  # of the level
    since: str  # the day of the level's first run
    changed: str  # by how much the level changed then, as it is written; "" if it never did

    @classmethod
    def of(cls, values: Mapping[int, float], workload: str, series: Sequence[Earlier]) -> Baseline:
        """Of a figure's `values` by place in the series, the oldest first: those of the newest
        one's kind that are of its level."""
        newest = series[max(values)].kinds[workload]
        alike = [place for place in sorted(values) if series[place].kinds[workload] == newest]
        found = levels([values[place] for place in alike])
        level = alike[found[-1].first :]
        return cls(
            {place: values[place] for place in level[-LAST:]},
            len(level),
            series[level[0]].day,
            step(found[-2], found[-1]) if len(found) > 1 else "",
        )

    @property
    def enough(self) -> bool:
        return len(self.values) >= FEWEST

    def __str__(self) -> str:
        """ "12 runs since 2026-11-03, when the level changed by +10.0 %"."""
        runs = f"{self.runs} run{'' if self.runs == 1 else 's'}"
        taken = f"the last {LAST} of {runs}" if self.runs > LAST else runs
        changed = f", when the level changed by {self.changed}" if self.changed else ""
        return f"{taken} since {self.since}{changed}"

    def too_few(self) -> str:
        """Why there is none, and what makes one."""
        if not self.changed:
            return f"no baseline: {FEWEST} runs are needed, the series has {self.runs}"
        return (
            f"no baseline: {self}: {FEWEST} are needed; make {FEWEST - self.runs} more, or compare "
            "with the newest of them"
        )


def describe(changes: Sequence[Change]) -> Iterator[str]:
    """What the figures that decide were held against, each baseline once, the most usual one
    without its figures; nothing where there is none."""
    of = {change: change.baseline for change in changes if change.primary and change.baseline}
    for place, (text, _) in enumerate(Counter(of.values()).most_common()):
        figures = "; ".join(
            f"{change.path}, {change.workload}: {metric_of(change.metric).label}"
            for change, baseline in of.items()
            if baseline == text
        )
        yield f"baseline: {text}" if not place else f"baseline of {figures}: {text}"
