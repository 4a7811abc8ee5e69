"""The report on a run beside another: regression.html in one file, .md and .json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harness.errors import ConfigError, LabError
from harness.units import Clock
from reports import frames, style
from reports.document import templates, write_whole
from reports.frames import Run, metric_of
from reports.regression import formats, judge
from reports.regression.judge import Change, Verdict, exit_changes
from reports.tables import Cell, Table

KIND: dict[Verdict, str] = {"regression": "refuted", "improvement": "supported"}
"""Verdicts that look as those on claims do in the comparison's report."""


@dataclass(frozen=True)
class Outcome:
    """Two runs, compared."""

    base: Run
    new: Run
    changes: tuple[Change, ...]

    @property
    def primary(self) -> tuple[Change, ...]:
        """The figures that decide."""
        return tuple(change for change in self.changes if change.primary)

    def count(self, verdict: Verdict) -> int:
        return sum(change.verdict == verdict for change in self.primary)

    @property
    def clock(self) -> Clock:
        return self.new.info.clock


def compare(base_dir: Path, new_dir: Path, across: Sequence[str] = ()) -> Outcome:
    """The run in `new_dir` judged against the one in `base_dir`.

    ConfigError if a directory holds no run, the runs cannot be compared, or have nothing in common.
    """
    base, new = frames.load(base_dir), frames.load(new_dir)
    judge.check_comparable(base, new, across)
    boots = [frames.per_boot(frames.measurements(run)) for run in (base, new)]
    changes = judge.judge(boots[0], boots[1])
    if not any(change.primary for change in changes):
        raise ConfigError(f"{base_dir} and {new_dir} have no figure in common")
    counted = frames.exits(base), frames.exits(new)
    return Outcome(base, new, tuple(_explained(change, *counted) for change in changes))


def _explained(change: Change, base: pd.DataFrame, new: pd.DataFrame) -> Change:
    """A figure that changed, with what changed in the exits of its path."""
    if change.verdict not in KIND:
        return change
    return replace(change, exits=tuple(exit_changes(base, new, change.path, change.workload)))


def headline(outcome: Outcome) -> str:
    """The verdict in one sentence."""
    total = len(outcome.primary)
    worse, better = outcome.count("regression"), outcome.count("improvement")
    if worse:
        first = outcome.primary[0]
        return (
            f"{worse} of {total} figures {'is' if worse == 1 else 'are'} worse; the worst: "
            f"{sentence(first)}"
        )
    undecided = outcome.count("undecided")
    if undecided:
        return f"No figure is shown to be worse; {undecided} of {total} are undecided"
    if better:
        return f"No figure is worse, {better} of {total} are better"
    return f"No change in any of {total} figures"


def sentence(change: Change) -> str:
    """A change with what explains it: "sriov, tcp-tx: Throughput -12 %: npf exits ... "."""
    metric = metric_of(change.metric)
    exits = f": {change.exits[0]}" if change.exits else ""
    return f"{change.path}, {change.workload}: {metric.label} {percent(change)}{exits}"


def percent(change: Change) -> str:
    return _percent(change.shift.ratio)


def _percent(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "from none"
    if ratio >= 3:
        return f"x {ratio:.3g}"
    return f"{100 * (ratio - 1):+.1f} %"


def change_table(changes: Sequence[Change], outcome: Outcome, title: str) -> Table:
    """The changes, a row each."""
    head = (
        ("figure",), ("verdict",), ("change", "[99 %]"), ("base",), ("new",), ("p adjusted",),
        ("exits that changed, or why undecided",),
    )  # fmt: skip
    rows = tuple(_row(change, outcome) for change in changes)
    return Table(head, rows, title=title, text=True)


def _row(change: Change, outcome: Outcome) -> tuple[Cell, ...]:
    unit = style.unit(metric_of(change.metric).unit_by(outcome.clock))
    low, high = _percent(change.shift.low), _percent(change.shift.high)
    boots = change.shift.boots
    return (
        Cell(f"{change.path}, {change.workload}", metric_of(change.metric).label),
        Cell(change.verdict, kind=KIND.get(change.verdict, "")),
        Cell(percent(change), f"[{low}, {high}]"),
        Cell(f"{style.number(change.base)} {unit}", f"{boots[0]} boots"),
        Cell(f"{style.number(change.new)} {unit}", f"{boots[1]} boots"),
        Cell(f"{change.p:.2g}"),
        Cell(change.why or "; ".join(change.exits[:3])),
    )


def differences(outcome: Outcome) -> Table:
    """What else differs between the runs: one of these is the cause."""
    sides = [_facts(run) for run in (outcome.base, outcome.new)]
    rows = tuple(
        (Cell(key), Cell(sides[0].get(key, "")), Cell(sides[1].get(key, "")))
        for key in {**sides[0], **sides[1]}
        if sides[0].get(key) != sides[1].get(key) and key not in _RESTLESS
    )
    return Table((("what",), ("base",), ("new",)), rows, text=True)


_RESTLESS = {"controller: command", "controller: load average (1 min) at start"}


def _facts(run: Run) -> Mapping[str, str]:
    facts = {f"option {key}": value for key, value in run.info.options.items()}
    for section, values in run.info.environment.items():
        facts |= {f"{section}: {key}": value for key, value in values.items()}
    return facts


def write(outcome: Outcome, directory: Path) -> Path:
    """Write regression.{html,md,json} and the formats that CI reads; the page's path.

    LabError if nothing can be written.
    """
    primary = [change for change in outcome.changes if change.primary]
    other = [c for c in outcome.changes if not c.primary and c.verdict in KIND]
    content = {
        "outcome": outcome,
        "headline": headline(outcome),
        "table": change_table(primary, outcome, ""),
        "others": change_table(other, outcome, "") if other else None,
        "differences": differences(outcome),
        "counts": {verdict: outcome.count(verdict) for verdict in judge.RANK},
        "kinds": KIND,
        "level": judge.LEVEL,
        "margins": {metric_of(name).label: 100 * m for name, m in judge.MARGINS.items()},
    }
    texts = {
        f"regression.{kind}": templates(directory)
        .get_template(f"regression.{kind}.j2")
        .render(**content)
        for kind in ("html", "md")
    }
    texts |= formats.every(outcome.changes, outcome.base.info.run, outcome.new.info.run)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(directory / name, text)
    except OSError as error:
        raise LabError(
            f"{directory}: cannot write the comparison: {error}",
            remedy="name another directory by --out",
        ) from error
    return directory / "regression.html"
