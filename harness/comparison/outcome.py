"""Two configurations beside one another, by whichever of the three ways their data allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Literal

from harness.comparison import baseline_interval, comparable, judge, sequential_pairs
from harness.comparison.baseline import LAST, Earlier
from harness.comparison.complete import Lacks
from harness.comparison.exits import exit_changes, likely_causes
from harness.comparison.missing import Side, warnings
from harness.comparison.sequential_pairs import Course
from harness.comparison.verdict import LOST, Change, Verdict
from harness.core.errors import ConfigError
from harness.core.units import Clock
from harness.records import ablation
from harness.records.ablation import Direction, Expected
from harness.records.boots import Boots, boots_of
from harness.records.run import Run, of_variant
from harness.records.trial import DECIDING, RunInfo
from harness.stats import levels


@dataclass(frozen=True)
class Method:
    """How the chance of a change was reckoned, for those who read of it."""

    name: str
    level: float
    sample: str  # what is one number of a figure
    note: str

    @property
    def interval(self) -> str:
        """What an interval is called: "99 %"."""
        return f"{100 * (1 - self.level):g} %"


EXCHANGED = Method(
    "exchange",
    judge.LEVEL,
    "boot",
    "The change is new over base, with the interval that an exact exchange of boots between the "
    "runs does not reject. Two runs are two sessions, and the level is that of boots which one "
    "session could have made: what else changed meanwhile counts as a change. Where each session "
    "moved each figure by 1 % (standard deviation), 7 of 200 comparisons of equal configurations "
    "were called a regression, and where by 2 %, 73 (docs/calibration). Interleave the two "
    "configurations (nicproof ab) to be sure.",
)
PAIRED = Method(
    "pairs",
    sequential_pairs.LEVEL,
    "pair",
    "Both configurations were booted in each block, in random order; the change is new over base "
    "in the same block. The level is spent over the looks, so blocks were added until all figures "
    "were decided, or there were enough; the intervals are of the same test, and hold for all "
    "figures together.",
)
PREDICTED = Method(
    "prediction",
    baseline_interval.LEVEL,
    "run",
    "The change is the new run over the mean of its baseline, the last level of the series, with "
    "the interval in which the next run would lie if runs vary normally. If they vary otherwise, a "
    f"run like the others is called changed with a chance of {1 + baseline_interval.ONE_OFF} in "
    "K + 1 at most, where the shortest baseline has K runs; if they drift, more often. So a "
    "regression here is a suspicion, which interleaving both (--confirm) settles. A step that "
    f"fewer than {levels.SHORTEST} runs have seen is not known yet.",
)


@dataclass(frozen=True)
class Expectation:
    """What a figure was expected to do when a feature was ablated, and what it did."""

    expected: Expected
    change: Change

    @property
    def verdict(self) -> Literal["it did", "it did not", "undecided", "not measured"]:
        if not self.change.both:
            return "not measured"
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
class Comparison:
    """Two sides, compared. `base` is the newest run of a series, where that was the baseline."""

    base: Run
    new: Run
    base_name: str
    new_name: str
    changes: tuple[Change, ...]
    method: Method
    sides: tuple[Side, Side]
    warnings: tuple[str, ...]  # what to know before one trusts a verdict, a sentence each

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
        """Is this a bad end? A figure that was lost: a candidate that cannot run is not without
        regression. Else a regression; of an ablation, an expectation that was not met."""
        if any(self.count(verdict) for verdict in LOST):
            return True
        if self.new.info.options.get("ablation"):
            return any(each.verdict == "it did not" for each in self.expectations)
        return self.count("regression") > 0

    @property
    def clock(self) -> Clock:
        return self.new.info.clock


def compare(base: Run, new: Run, across: Sequence[str] = ()) -> Comparison:
    """A run judged against another one.

    What BASE has and NEW has not is a verdict, too; with "paths" or "workloads" in `across` it
    decides nothing if NEW was not asked for it. ConfigError if they cannot be compared, or have
    nothing in common.
    """
    for run in (base, new):
        if run.info.variants:
            raise ConfigError(
                f"{run.info.run}: a run of several configurations, compared already",
                remedy="`nicproof report` renders it again",
            )
    comparable.check(base, new, across)
    boots = boots_of(base), boots_of(new)
    lacks = Lacks(Side.of("base", [base]), Side.of("new", [new]), across=across)
    return _outcome(base, new, judge.judge(*boots), boots, lacks, EXCHANGED)


def compare_variants(run: Run) -> Comparison:
    """The second configuration of a run that interleaved two, judged against the first.

    ConfigError if the run has not two of them.
    """
    names = tuple(run.info.variants)
    if len(names) != 2:
        raise ConfigError(
            f"{run.info.run}: not a run of two configurations", remedy="make one by nicproof ab"
        )
    base, new = (of_variant(run, name) for name in names)
    boots, deciding = (boots_of(base), boots_of(new)), _deciding(run.info)
    lacks = Lacks(Side.of("base", [run], names[0]), Side.of("new", [run], names[1]), deciding)
    changes = sequential_pairs.judge(*boots, run.info.boots, deciding)
    return _outcome(base, new, changes, boots, lacks, PAIRED, *names)


def evidence(outcome: Comparison) -> tuple[Course, ...]:
    """How the evidence on each figure that decides grew over the blocks of a run of two
    configurations; none for another comparison."""
    if outcome.method is not PAIRED:
        return ()
    info, deciding = outcome.base.info, _deciding(outcome.base.info)
    boots = boots_of(outcome.base), boots_of(outcome.new)
    every = sequential_pairs.courses(*boots, info.boots, deciding)
    return tuple(course for course in every if course.figure.primary)


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


def against(series: Iterable[Run], new: Run, name: str, across: Sequence[str] = ()) -> Comparison:
    """A run judged against a series of runs, the newest first: each figure against the last level
    of those that are like it.

    ConfigError if no run of the series can be compared with it.
    """
    others = (run for run in series if run.info != new.info)
    newest = next(others, None)
    if newest is None:
        raise ConfigError(f"{name}: no other run of that name was finished")
    recent: list[Run] = []
    series_of: list[Earlier] = []
    for run in chain((newest,), others):
        if not comparable.difference(run, new, across):
            recent += [run] if len(recent) < LAST else []
            series_of.append(Earlier.of(run))
    if not recent:
        comparable.check(newest, new, across)
    earlier = series_of[::-1]
    own = boots_of(new)
    changes = baseline_interval.judge(earlier, own)
    boots = baseline_interval.still_there(earlier), baseline_interval.as_block(own)
    lacks = Lacks(Side.of("base", recent), Side.of("new", [new]), across=across)
    most = max((change.shift.boots[0] for change in changes if change.primary), default=0)
    return _outcome(recent[0], new, changes, boots, lacks, PREDICTED, f"{name} ({most} runs)")


def _outcome(
    base: Run,
    new: Run,
    judged: Sequence[Change],
    boots: tuple[Boots, Boots],
    lacks: Lacks,
    method: Method,
    base_name: str = "",
    new_name: str = "",
) -> Comparison:
    base_name, new_name = base_name or base.info.run, new_name or new.info.run
    changes = lacks.completed(judged, boots)
    if not any(each.primary and (each.both or each.verdict == "not measured") for each in changes):
        raise ConfigError(f"{base_name} and {new_name} have no figure in common")
    explained = tuple(_explained(change, base, new) for change in changes)
    warned = (*warnings(lacks.base, lacks.new), *lacks.left_out(changes))
    sides = lacks.base, lacks.new
    return Comparison(
        base, new, base_name, new_name, explained, method, sides, tuple(dict.fromkeys(warned))
    )


def _explained(change: Change, base: Run, new: Run) -> Change:
    """A figure that changed, with what changed in the exits of its path."""
    if change.verdict not in ("regression", "improvement"):
        return change
    exits = exit_changes(base, new, change.path, change.workload)
    return replace(
        change,
        exits=tuple(map(str, exits)),
        causes=tuple(likely_causes(new.path_facts(change.path).kind, exits)),
    )
