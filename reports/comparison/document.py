"""The report on a run beside another: regression.html in one file, .md and .json, and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from harness.comparison import baseline
from harness.comparison.outcome import PREDICTED, Comparison, compare_variants
from harness.comparison.verdict import RANK, Change, Verdict
from harness.core.errors import LabError
from harness.core.metrics import METRICS, metric_of
from harness.records.run import Run, load
from reports.comparison import blocks, forest, formats, notices
from reports.comparison.words import RARE, headline, notable, percent, percent_of
from reports.run import canvas, frames, style
from reports.run.canvas import Drawn
from reports.run.cells import Cell, Table
from reports.run.page import FIGURES, templates, write_whole

KIND: dict[Verdict, str] = {
    "not measured": "refuted",
    "not asked for": "refuted",
    "regression": "refuted",
    "improvement": "supported",
}
"""Verdicts that look as those on claims do in the comparison's report."""

_ABSENT = "\N{EM DASH}"


def change_table(changes: Sequence[Change], outcome: Comparison, title: str) -> Table:
    """The changes, a row each."""
    head = (
        ("figure",), ("verdict",), ("change", f"[{outcome.method.interval}]"), ("base",), ("new",),
        ("p adjusted",), ("exits that changed, or why there is no verdict",),
    )  # fmt: skip
    rows = tuple(_row(change, outcome) for change in changes)
    return Table(head, rows, title=title, text=True)


def _row(change: Change, outcome: Comparison) -> tuple[Cell, ...]:
    low, high = percent_of(change.shift.low), percent_of(change.shift.high)
    interval = f"[{low}, {high}]" if change.shift.bounded else "no interval"
    interval = interval.replace(" %", "\N{NO-BREAK SPACE}%")
    absent = Cell(_ABSENT, kind="absent")
    return (
        Cell(f"{change.path}, {change.workload}", metric_of(change.metric).label),
        Cell(change.verdict, kind=KIND.get(change.verdict, "")),
        Cell(percent(change), interval) if change.both else absent,
        *_values(change, outcome),
        Cell(f"{change.p:.2g}") if change.both else absent,
        Cell(change.why or "; ".join(change.exits[:3])),
    )


def _values(change: Change, outcome: Comparison) -> Iterator[Cell]:
    """A figure's value on each side."""
    sampled = "run" if outcome.method is PREDICTED else "boot"
    unit = style.unit(metric_of(change.metric).unit_by(outcome.clock))
    sides = (change.base, change.baseline), (change.new, "")
    for (value, taken), boots in zip(sides, change.shift.boots, strict=True):
        if math.isnan(value):
            yield Cell(_ABSENT, kind="absent")
        else:
            counted = f"{boots} {sampled}{'' if boots == 1 else 's'}"
            yield Cell(f"{style.number(value)} {unit}", taken or counted)


def trials_table(outcome: Comparison) -> Table:
    """How the trials of each path and workload ended, on each side."""
    base, new = outcome.sides
    rows = tuple(
        (
            Cell(", ".join(place)),
            *(
                Cell(str(tally), kind="refuted" if tally.share < other.share else "")
                for tally, other in (pair, pair[::-1])
            ),
        )
        for place in dict.fromkeys((*base.tallies, *new.tallies))
        for pair in [(base.tally(*place), new.tally(*place))]
    )
    return Table((("path, workload",), ("base",), ("new",)), rows, text=True)


def expected_table(outcome: Comparison) -> Table | None:
    """What the ablated feature was expected to do, and whether it did; None without one."""
    kinds = {"it did": "supported", "it did not": "refuted", "not measured": "refuted"}
    rows = tuple(
        (
            Cell(
                f"{each.change.path}, {each.change.workload}", metric_of(each.change.metric).label
            ),
            Cell(each.expected.direction, each.expected.why),
            Cell(each.verdict, kind=kinds.get(each.verdict, "")),
            Cell(percent(each.change) if each.change.both else _ABSENT),
            Cell(f"{style.number(each.change.base)} -> {style.number(each.change.new)}"),
        )
        for each in outcome.expectations
    )
    head = (("figure",), ("expected",), ("seen",), ("change",), ("base -> new",))
    return Table(head, rows, text=True) if rows else None


def causes(outcome: Comparison) -> dict[str, tuple[str, ...]]:
    """Path -> what the rise of its exits points to, each cause once."""
    found: dict[str, dict[str, None]] = {}
    for change in outcome.changes:
        if change.primary and change.verdict == "regression":
            found.setdefault(change.path, {}).update(dict.fromkeys(change.causes))
    return {path: tuple(named) for path, named in found.items() if named}


def differences(outcome: Comparison) -> Table:
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


def render(run_dir: Path) -> tuple[Path, Comparison]:
    """The report on the two configurations that a run interleaved, written beside its records.

    ConfigError if there are not two, or they have nothing in common.
    """
    run = load(run_dir)
    frames.export(run, frames.measurements(run), frames.exits(run), run_dir)
    outcome = compare_variants(run)
    return write(outcome, run_dir), outcome


def write(outcome: Comparison, directory: Path) -> Path:
    """Write regression.{html,md,json}, the figures, and what CI reads; the page's path.

    LabError if nothing can be written.
    """
    try:
        drawn = _draw(outcome, directory / FIGURES)
        texts = _texts(outcome, directory, drawn)
        for name, text in texts.items():
            write_whole(directory / name, text)
    except OSError as error:
        raise LabError(
            f"{directory}: cannot write the comparison: {error}",
            remedy="name another directory by --out",
        ) from error
    return directory / "regression.html"


def _draw(outcome: Comparison, directory: Path) -> list[Drawn]:
    """The figures there is data for, as a run's are drawn."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(canvas.RC):
        for made in (forest.draw(outcome), blocks.draw(outcome)):
            if made is None:
                continue
            figure, entry = made
            canvas.save(figure, *(directory / f"{entry.name}{kind}" for kind in canvas.WITHOUT))
            drawn.append(entry)
    return drawn


def _texts(outcome: Comparison, directory: Path, drawn: Sequence[Drawn]) -> dict[str, str]:
    """File name -> content."""
    other = [each for each in outcome.changes if not each.primary and notable(each)]
    content = {
        "outcome": outcome,
        "headline": headline(outcome),
        "figures": drawn,
        "table": change_table(outcome.primary, outcome, ""),
        "others": change_table(other, outcome, "") if other else None,
        "expected": expected_table(outcome),
        "causes": causes(outcome),
        "baselines": tuple(baseline.describe(outcome.changes)),
        "differences": differences(outcome),
        "trials": trials_table(outcome),
        "counts": {
            verdict: count
            for verdict in RANK
            if (count := outcome.count(verdict)) or verdict not in RARE
        },
        "kinds": KIND,
        "margins": {
            metric.label: metric.margin.describe(metric.unit)
            for metric in METRICS.values()
            if metric.primary
        },
    }
    pages = {
        f"regression.{kind}": templates(directory)
        .get_template(f"regression.{kind}.j2")
        .render(**content)
        for kind in ("html", "md")
    }
    return pages | formats.every(outcome) | notices.every(outcome, directory)
