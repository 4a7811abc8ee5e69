"""Two configurations beside one another, by whichever of the three ways their data allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from typing import Literal

import pandas as pd

from harness import ablation
from harness.ablation import Direction, Expected
from harness.errors import ConfigError
from harness.measure.record import DECIDING, RunInfo
from harness.units import Clock
from reports import frames
from reports.frames import Run
from reports.regression import comparable, judge, paired, predicted
from reports.regression.exits import exit_changes, likely_causes
from reports.regression.verdict import Change, Verdict


@dataclass(frozen=True)
class Method:
    """How the chance of a change was reckoned, for those who read of it."""

    name: str
    level: float
    note: str

    @property
    def interval(self) -> str:
        """What an interval is called: "99 %"."""
        return f"{100 * (1 - self.level):g} %"


EXCHANGED = Method(
    "exchange",
    judge.LEVEL,
    "The change is new over base, with the interval that an exact exchange of boots between the "
    "runs does not reject. Two runs are two sessions, and the level is that of boots which one "
    "session could have made: what else changed meanwhile counts as a change. Where each session "
    "moved each figure by 1 % (standard deviation), 7 of 200 comparisons of equal configurations "
    "were called a regression, and where by 2 %, 73 (docs/calibration). Interleave the two "
    "configurations (nicproof ab) to be sure.",
)
PAIRED = Method(
    "pairs",
    paired.LEVEL,
    "Both configurations were booted in each block, in random order; the change is new over base "
    "in the same block. The level is spent over the looks, so blocks were added until all figures "
    "were decided, or there were enough; the intervals are of the same test, and hold for all "
    "figures together.",
)
PREDICTED = Method(
    "prediction",
    predicted.LEVEL,
    "The change is the new run over the mean of the series, with the interval in which the next "
    "run of the series would lie. A regression here is a suspicion: interleaving both (--confirm) "
    "settles it.",
)


@dataclass(frozen=True)
class Expectation:
    """What a figure was expected to do when a feature was ablated, and what it did."""

    expected: Expected
    change: Change

    @property
    def verdict(self) -> Literal["it did", "it did not", "undecided"]:
        seen = _DIRECTIONS.get(self.change.verdict)
        if seen is None:
            return "undecided"
        return "it did" if seen == self.expected.direction else "it did not"


_DIRECTIONS: dict[Verdict, Direction] = {
    "regression": "more",
    "improvement": "less",
    "no change": "the same",
}
"""Of metrics of which less is better, as all are that an ablation speaks of."""


@dataclass(frozen=True)
class Outcome:
    """Two sides, compared. `base` is the newest run of a series, where that was the baseline."""

    base: Run
    new: Run
    base_name: str
    new_name: str
    changes: tuple[Change, ...]
    method: Method

    @property
    def primary(self) -> tuple[Change, ...]:
        """The figures that decide."""
        return tuple(change for change in self.changes if change.primary)

    def count(self, verdict: Verdict) -> int:
        return sum(change.verdict == verdict for change in self.primary)

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """What the ablation says that this run is about; none without one."""
        name = self.new.info.options.get("ablation", "")
        expected = ablation.BY_NAME[name].expected if name in ablation.BY_NAME else ()
        return tuple(
            Expectation(each, change)
            for each in expected
            for change in self.changes
            if change.metric == each.metric and each.of(change.workload)
        )

    @property
    def failed(self) -> bool:
        """Is this a bad end? A regression; of an ablation, an expectation that was not met."""
        if self.new.info.options.get("ablation"):
            return any(each.verdict == "it did not" for each in self.expectations)
        return self.count("regression") > 0

    @property
    def clock(self) -> Clock:
        return self.new.info.clock


def compare(base: Run, new: Run, across: Sequence[str] = ()) -> Outcome:
    """A run judged against another one.

    ConfigError if they cannot be compared, or have nothing in common.
    """
    for run in (base, new):
        if run.info.variants:
            raise ConfigError(
                f"{run.info.run}: a run of two configurations, which has been compared already",
                remedy="`nicproof report` renders it again",
            )
    comparable.check(base, new, across)
    changes = judge.judge(_boots(base), _boots(new))
    return _outcome(base, new, changes, EXCHANGED)


def compare_variants(run: Run) -> Outcome:
    """The second configuration of a run that interleaved two, judged against the first.

    ConfigError if the run has not two of them.
    """
    names = tuple(run.info.variants)
    if len(names) != 2:
        raise ConfigError(
            f"{run.info.run}: not a run of two configurations", remedy="make one by nicproof ab"
        )
    base, new = (frames.of_variant(run, name) for name in names)
    changes = paired.judge(_boots(base), _boots(new), run.info.boots, _deciding(run.info))
    return _outcome(base, new, changes, PAIRED, *names)


def _deciding(info: RunInfo) -> list[str]:
    """The figures that decide, if they were named, or an ablation makes a claim of them."""
    feature = ablation.BY_NAME.get(info.options.get("ablation", ""))
    if feature is not None:
        return [
            f"{path}/{workload}/{each.metric}"
            for path, workload, each in product(info.paths, info.workloads, feature.expected)
            if each.of(workload)
        ]
    return [name for name in info.options.get(DECIDING, "").split(",") if name]


def against(series: Iterable[Run], new: Run, name: str, across: Sequence[str] = ()) -> Outcome:
    """A run judged against a series of runs, the newest first, of which the last are taken that
    are like it.

    ConfigError if no run of the series can be compared with it.
    """
    others = (run for run in series if run.info != new.info)
    newest = next(others, None)
    if newest is None:
        raise ConfigError(f"{name}: no other run of that name was finished")
    every = chain((newest,), others)
    alike = list(
        islice(
            (run for run in every if not comparable.difference(run, new, across)), predicted.LAST
        )
    )
    if not alike:
        comparable.check(newest, new, across)
    changes = predicted.judge([_boots(run) for run in alike], _boots(new))
    return _outcome(alike[0], new, changes, PREDICTED, f"{name} ({len(alike)} runs)")


def _boots(run: Run) -> pd.DataFrame:
    return frames.per_boot(frames.measurements(run))


def _outcome(
    base: Run,
    new: Run,
    changes: Sequence[Change],
    method: Method,
    base_name: str = "",
    new_name: str = "",
) -> Outcome:
    base_name, new_name = base_name or base.info.run, new_name or new.info.run
    if not any(change.primary for change in changes):
        raise ConfigError(f"{base_name} and {new_name} have no figure in common")
    counted = frames.exits(base), frames.exits(new)
    explained = tuple(_explained(change, *counted) for change in changes)
    return Outcome(base, new, base_name, new_name, explained, method)


def _explained(change: Change, base: pd.DataFrame, new: pd.DataFrame) -> Change:
    """A figure that changed, with what changed in the exits of its path."""
    if change.verdict not in ("regression", "improvement"):
        return change
    exits = exit_changes(base, new, change.path, change.workload)
    return replace(
        change,
        exits=tuple(map(str, exits)),
        causes=tuple(likely_causes(change.path, exits)),
    )
