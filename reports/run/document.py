"""The report of a run: report.html in one self-contained file, report.md, figures and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.core.errors import LabError
from harness.core.percentiles import summarise
from harness.records.run import Run, load
from harness.stats import estimates
from reports.run import answers, canvas, figures, frames, style, surprises, tables, words
from reports.run.cells import Cell, Table
from reports.run.claims import Claim, judge_claims
from reports.run.page import FIGURES, HTML, MARKDOWN, SCOPES, templates, write_whole


@dataclass(frozen=True)
class Report:
    """All that the templates print; they decide nothing."""

    run: Run
    headline: str
    interrupted: str
    answers: Table | None
    lead: Sequence[str]
    claims: Sequence[Claim]
    surprises: Table | None
    calm: str  # if there are none
    summary: Table | None
    figures: Sequence[Sequence[canvas.Drawn]]  # rows of them
    comparisons: Mapping[int, Table]  # claim's number -> table
    by_reason: Sequence[Table]
    by_workload: Sequence[Table]
    note: str  # how to read the tables of figures
    meaning: str  # of the fidelity
    evidence: Sequence[tuple[str, str]]
    environment: Sequence[Table]
    facts: Table
    workloads: Table
    proofs: Table
    offloads: Table


def render(run_dir: Path) -> tuple[Path, tuple[str, ...]]:
    """Write the report of a run into its directory; the path of report.html, and what it says
    first, in lines for a terminal.

    ConfigError if the directory holds no run or nothing to show; LabError if it cannot be written.
    """
    run = load(run_dir)
    measured, exits = frames.measurements(run), frames.exits(run)
    boots, exits_per_boot = frames.per_boot(measured), frames.exits_per_boot(exits)
    try:
        frames.export(run, measured, exits, run_dir)
        found = tables.estimates(boots)
        data = canvas.Data(run, boots, exits_per_boot, _round_trips(run), found)
        drawn = figures.draw_all(data, run_dir / FIGURES) if len(boots) else []
        meaning, evidence = words.fidelity(run, found)
        claims = judge_claims(run, boots)
        given = answers.answers(run, found)
        exits_first = words.headline(run, found)
        headline = answers.headline(given)
        report = Report(
            run=run,
            headline=headline or exits_first,
            interrupted=words.interrupted(run),
            answers=answers.table(run, given),
            lead=[*([exits_first] if headline else []), *words.lead(run, found)],
            claims=claims,
            surprises=surprises.table(run, claims, boots, found),
            calm=surprises.calm(run),
            summary=tables.summary(run, found),
            figures=in_rows(drawn),
            comparisons={c.number: tables.comparisons(c) for c in claims if c.comparisons},
            by_reason=tables.exits_by_reason(run, exits_per_boot),
            by_workload=tables.by_workload(run, found),
            note=tables.figures_note(run, found),
            meaning=meaning,
            evidence=evidence,
            environment=tables.environment(run),
            facts=_facts(run),
            workloads=tables.workloads(run),
            proofs=tables.proofs(run),
            offloads=tables.offloads(run),
        )
        return _write(report, run_dir), _said(report)
    except OSError as error:
        raise LabError(
            f"{run_dir}: cannot write the report: {error}",
            remedy="free space there, or copy the run elsewhere; its records are intact",
        ) from error


_ALIKE = 0.6
"""Figures stand side by side if the lower one has at least this share of the other's height."""


def in_rows(drawn: Sequence[canvas.Drawn]) -> list[list[canvas.Drawn]]:
    """In their order: two in a row, but alone where half of a column would be empty."""
    rows: list[list[canvas.Drawn]] = []
    for figure in drawn:
        beside = rows[-1] if rows else []
        heights = sorted((figure.height, *(each.height for each in beside)))
        if len(beside) == 1 and heights[0] >= _ALIKE * heights[1]:
            beside.append(figure)
        else:
            rows.append([figure])
    return rows


def _said(report: Report) -> tuple[str, ...]:
    shorts = (
        f"claim {each.number}, {each.declared.short}: {each.verdict}"
        f"{f' ({each.why})' if each.verdict == 'undecided' else ''}"
        for each in report.claims
    )
    warning = (report.interrupted,) if report.interrupted else ()
    return (*shorts, *warning, _counted(report.run), report.headline)


def _counted(run: Run) -> str:
    """ "57 of 60 trials are valid; 1 boot failed"."""
    valid = sum(each.valid for each in run.trials)
    failed = len(run.info.failures)
    boots = f"; {failed} boot{'s' * (failed != 1)} failed" if failed else ""
    return f"{valid} of {len(run.trials)} trials are valid{boots}"


def _write(report: Report, run_dir: Path) -> Path:
    for template, name in (("report.md.j2", MARKDOWN), ("report.html.j2", HTML)):
        text = (
            templates(run_dir)
            .get_template(template)
            .render(report=report, scopes=SCOPES, min_blocks=estimates.MIN_BLOCKS)
        )
        write_whole(run_dir / name, text)
    return run_dir / HTML


def _round_trips(run: Run) -> dict[str, dict[int, np.ndarray]]:
    """Path -> boot -> round trips in ns, of the trials that count."""
    found: dict[str, dict[int, list[np.ndarray]]] = {}
    for trial in run.counted:
        if trial.rtt_ns:
            boots = found.setdefault(trial.path, {})
            boots.setdefault(trial.boot, []).append(frames.round_trips(trial))
    return {
        path: {boot: np.concatenate(rtts) for boot, rtts in boots.items()}
        for path, boots in found.items()
    }


def _facts(run: Run) -> Table:
    info = run.info
    facts = {
        "Seed": f"{info.seed}, for the order of the paths in each block",
        "Blocks": f"{info.boots} asked for, {len({t.block for t in run.trials})} with trials; "
        "each path boots once in a block",
        "Paths": ", ".join(info.paths),
        "Prober's floor": _floor(info.floor_ns, info.floor_stamps),
    }
    if info.generator_pps:
        facts["Generator's limit"] = _limits(run)
    facts |= {f"Option {name}": value for name, value in info.options.items()}
    rows = tuple((Cell(name), Cell(value)) for name, value in facts.items())
    return Table((), rows, text=True)


def _limits(run: Run) -> str:
    unit, limits = style.unit(run.unit("pps")), run.info.generator_pps
    each = ", ".join(f"{name} {style.number(pps)}" for name, pps in limits.items())
    return f"{each} {unit}, into a dummy interface, with no port and no guest"


def _floor(floor_ns: Sequence[int], stamps: str) -> str:
    if not floor_ns:
        return "not measured"
    names, us = {"rtt_p50": "median", "rtt_p99": "p99"}, style.unit("us")
    found = summarise(floor_ns)
    message = [f"{names[m]} {style.number(found[m])} {us}" for m in names if m in found]
    count = f"{len(floor_ns):,} round trips over a veth pair"
    return ", ".join((*message, f"{count} (time stamps: {stamps})" if stamps else count))
