"""The report on a run beside another: regression.html in one file, .md and .json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import LabError
from reports import frames, style
from reports.document import templates, write_whole
from reports.frames import Run, metric_of
from reports.regression import baseline, formats
from reports.regression.outcome import PREDICTED, Outcome, compare_variants
from reports.regression.verdict import MARGINS, RANK, Change, Verdict
from reports.tables import Cell, Table

KIND: dict[Verdict, str] = {"regression": "refuted", "improvement": "supported"}
"""Verdicts that look as those on claims do in the comparison's report."""


def headline(outcome: Outcome) -> str:
    """The verdict in one sentence."""
    if outcome.expectations:
        return _expected_headline(outcome)
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


def _expected_headline(outcome: Outcome) -> str:
    """Of an ablation: did it do what was expected?"""
    every = outcome.expectations
    met = sum(each.verdict == "it did" for each in every)
    name, first = outcome.new.info.options["ablation"], sentence(every[0].change)
    return f"{name}: {met} of {len(every)} figures did what was expected; {first}"


def lines(outcome: Outcome) -> list[str]:
    """A line a figure that decides, for a terminal."""
    return [
        f"{change.verdict:<12} {sentence(change)}{f' ({change.why})' if change.why else ''}"
        for change in outcome.primary
    ]


def sentence(change: Change) -> str:
    """A change with what explains it: "sriov, tcp-tx: Throughput -12 %: npf exits ... "."""
    metric = metric_of(change.metric)
    exits = f": {change.exits[0]}" if change.exits else ""
    return f"{change.path}, {change.workload}: {metric.label} {percent(change)}{exits}"


def percent(change: Change) -> str:
    return _percent(change.shift.ratio)


def _percent(ratio: float) -> str:
    if ratio > 1e9:  # a limit of a search, where the base has none
        return "from none"
    if ratio >= 3:
        return f"x {ratio:.3g}"
    return f"{100 * (ratio - 1):+.1f} %"


def change_table(changes: Sequence[Change], outcome: Outcome, title: str) -> Table:
    """The changes, a row each."""
    head = (
        ("figure",), ("verdict",), ("change", f"[{outcome.method.interval}]"), ("base",), ("new",),
        ("p adjusted",), ("exits that changed, or why undecided",),
    )  # fmt: skip
    rows = tuple(_row(change, outcome) for change in changes)
    return Table(head, rows, title=title, text=True)


def _row(change: Change, outcome: Outcome) -> tuple[Cell, ...]:
    sampled = "runs" if outcome.method is PREDICTED else "boots"
    unit = style.unit(metric_of(change.metric).unit_by(outcome.clock))
    low, high = _percent(change.shift.low), _percent(change.shift.high)
    boots = change.shift.boots
    return (
        Cell(f"{change.path}, {change.workload}", metric_of(change.metric).label),
        Cell(change.verdict, kind=KIND.get(change.verdict, "")),
        Cell(percent(change), f"[{low}, {high}]"),
        Cell(f"{style.number(change.base)} {unit}", change.baseline or f"{boots[0]} {sampled}"),
        Cell(f"{style.number(change.new)} {unit}", f"{boots[1]} {sampled}"),
        Cell(f"{change.p:.2g}"),
        Cell(change.why or "; ".join(change.exits[:3])),
    )


def expected_table(outcome: Outcome) -> Table | None:
    """What the ablated feature was expected to do, and whether it did; None without one."""
    kinds = {"it did": "supported", "it did not": "refuted", "undecided": ""}
    rows = tuple(
        (
            Cell(
                f"{each.change.path}, {each.change.workload}", metric_of(each.change.metric).label
            ),
            Cell(each.expected.direction, each.expected.why),
            Cell(each.verdict, kind=kinds[each.verdict]),
            Cell(percent(each.change)),
            Cell(f"{style.number(each.change.base)} -> {style.number(each.change.new)}"),
        )
        for each in outcome.expectations
    )
    head = (("figure",), ("expected",), ("seen",), ("change",), ("base -> new",))
    return Table(head, rows, text=True) if rows else None


def causes(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """Path -> what the rise of its exits points to, each cause once."""
    found: dict[str, dict[str, None]] = {}
    for change in outcome.changes:
        if change.primary and change.verdict == "regression":
            found.setdefault(change.path, {}).update(dict.fromkeys(change.causes))
    return {path: tuple(named) for path, named in found.items() if named}


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


def render(run_dir: Path) -> tuple[Path, Outcome]:
    """The report on the two configurations that a run interleaved, written beside its records.

    ConfigError if there are not two, or they have nothing in common.
    """
    run = frames.load(run_dir)
    frames.export(run, frames.measurements(run), frames.exits(run), run_dir)
    outcome = compare_variants(run)
    return write(outcome, run_dir), outcome


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
        "expected": expected_table(outcome),
        "causes": causes(outcome),
        "baselines": tuple(baseline.told(outcome.changes)),
        "differences": differences(outcome),
        "counts": {verdict: outcome.count(verdict) for verdict in RANK},
        "kinds": KIND,
        "margins": {metric_of(name).label: 100 * m for name, m in MARGINS.items()},
    }
    texts = {
        f"regression.{kind}": templates(directory)
        .get_template(f"regression.{kind}.j2")
        .render(**content)
        for kind in ("html", "md")
    }
    texts |= formats.every(outcome)
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
