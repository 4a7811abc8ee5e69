"""The report on a sweep: sweep.html in one file, sweep.md, sweep.json, figures and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.comparison.curves import Curve, Knee, curves, knees, values_along
from harness.core.errors import LabError
from harness.records.run import Run, load
from harness.stats import estimates
from reports.run import canvas, frames, style, tables, words
from reports.run.cells import Cell, Table
from reports.run.document import in_rows
from reports.run.page import FIGURES, templates, write_whole
from reports.sweep import figure

HTML, MARKDOWN, JSON = "sweep.html", "sweep.md", "sweep.json"

NAMED = 3
"""Knees in the headline; all are in the list below it."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A figure at a point."""

    path: str
    workload: str
    metric: str
    unit: str
    point: str
    value: float
    low: float
    high: float
    boots: int
    indicative: bool  # are low and high the lowest and the highest boot, and no interval?


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Where a curve stops gaining."""

    path: str
    workload: str
    metric: str
    axis: str
    held: Mapping[str, str]
    value: str
    full: tuple[str, ...]
    sentence: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """sweep.json."""

    run: str
    report: str
    finished: bool
    headline: str
    axes: Mapping[str, Sequence[str]]  # with their values
    points: Mapping[str, Mapping[str, str]]  # by name
    figures: tuple[Shown, ...]
    knees: tuple[Told, ...]


def render(run_dir: Path) -> tuple[Path, tuple[str, ...]]:
    """Write the report of a sweep into its directory; the path of sweep.html, and what it says
    first, in lines for a terminal.

    ConfigError if the directory holds no run or nothing to show; LabError if it cannot be written.
    """
    run = load(run_dir)
    measured = frames.measurements(run)
    exits = frames.exits(run)
    every = [curve for axis in run.info.axes for curve in curves(run, axis)]
    first = [curve for curve in every if curve.axis == run.info.axes[0]]
    found = tuple(knees(run, every))
    said = headline(run, first, found)
    try:
        frames.export(run, measured, exits, run_dir)
        boots = frames.per_boot(measured)
        shown = {
            (curve.path, f"{curve.workload} {point.variant}", curve.metric): point.figure
            for curve in first
            for point in curve.points
            if point.figure
        }
        data = canvas.Data(run, boots, exits, {}, shown)
        drawn = figure.draw_all(data, first, run_dir / FIGURES)
        meaning, evidence = words.fidelity(run, shown)
        content = {
            "run": run,
            "headline": said,
            "knees": [each.sentence for each in found],
            "interrupted": words.interrupted(run),
            "figures": in_rows(drawn),
            "curves": [each for name in run.workloads if (each := table(run, name, first))],
            "note": tables.figures_note(run, shown),
            "meaning": meaning,
            "evidence": evidence,
            "workloads": tables.workloads(run),
            "proofs": tables.proofs(run),
            "environment": tables.environment(run),
        }
        for template, name in (("sweep.md.j2", MARKDOWN), ("sweep.html.j2", HTML)):
            write_whole(run_dir / name, templates(run_dir).get_template(template).render(**content))
        document = msgspec.json.encode(_document(run, run_dir / HTML, said, first, found))
        write_whole(run_dir / JSON, msgspec.json.format(document, indent=2).decode() + "\n")
    except OSError as error:
        raise LabError(
            f"{run_dir}: cannot write the report: {error}",
            remedy="free space there, or copy the run elsewhere; its records are intact",
        ) from error
    warning = (words.interrupted(run),) if words.interrupted(run) else ()
    return run_dir / HTML, (*(each.sentence for each in found), *warning, said)


def headline(run: Run, every: Sequence[Curve], found: Sequence[Knee]) -> str:
    """What the sweep says, in a sentence or a few."""
    if not every:
        return "Nothing was measured: there is no curve."
    if found:
        named = "; ".join(each.sentence for each in found[:NAMED])
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        return f"{named}{more}."
    fewest = min(len(point.boots) for curve in every for point in curve.points if point.figure)
    if fewest < estimates.MIN_BLOCKS:
        enough = estimates.MIN_BLOCKS
        return f"Curves of {fewest} boots a point: to tell where they stop gaining takes {enough}."
    along = " and ".join(run.info.axes)
    return f"No curve along {along} is shown to stop gaining."


def table(run: Run, workload: str, of: Sequence[Curve]) -> Table | None:
    """The primary figures of a workload: a row a point, a column a path and figure."""
    axis = run.info.axes[0]
    found = {
        (curve.path, curve.metric, point.variant): point.figure
        for curve in of
        if curve.workload == workload
        for point in curve.points
    }
    if not found:
        return None
    columns = list(dict.fromkeys((path, metric) for path, metric, _ in found))
    order = {value: at for at, value in enumerate(values_along(run, axis))}
    points = sorted(run.info.variants.items(), key=lambda item: order[item[1][axis]])
    head = (
        *((name,) for name in run.info.axes),
        *((path, tables.marked(run, m), style.unit(run.unit(m))) for path, m in columns),
    )
    rows = tuple(
        (
            *(Cell(own[name]) for name in run.info.axes),
            *(
                tables.figure_cell(found.get((path, m, name)), m, tables.longest_wait(run))
                for path, m in columns
            ),
        )
        for name, own in points
    )
    return Table(head, rows, title=workload)


def _document(
    run: Run, page: Path, said: str, first: Sequence[Curve], found: Sequence[Knee]
) -> Said:
    shown = [
        Shown(
            path=curve.path,
            workload=curve.workload,
            metric=curve.metric,
            unit=run.unit(curve.metric),
            point=point.variant,
            value=point.figure.value,
            low=point.figure.low,
            high=point.figure.high,
            boots=point.figure.boots,
            indicative=point.figure.indicative,
        )
        for curve in first
        for point in curve.points
        if point.figure
    ]
    told = [
        Told(
            path=each.curve.path,
            workload=each.curve.workload,
            metric=each.curve.metric,
            axis=each.curve.axis,
            held=each.curve.held,
            value=each.curve.points[each.at].value,
            full=each.full,
            sentence=each.sentence,
        )
        for each in found
    ]
    return Said(
        run=run.info.run,
        report=str(page),
        finished=run.info.finished,
        headline=said,
        axes={name: values_along(run, name) for name in run.info.axes},
        points=run.info.variants,
        figures=tuple(shown),
        knees=tuple(told),
    )
