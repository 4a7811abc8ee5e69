"""What is surprising in a run: refuted claims, what has no value, and figures that are odd."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from harness.core.metrics import metric_of
from harness.records.generator import held_back
from harness.records.run import Run
from harness.records.trial import IDLE, TrialRecord
from harness.stats.estimates import MIN_BLOCKS
from reports.run import style
from reports.run.cells import Cell, Table
from reports.run.claims import Claim
from reports.run.tables import Estimates, of_words, summarised

UNSTEADY = 2.0
"""The boots of a path differ if the highest has so many times the lowest."""

HEAVY = 10
"""A tail is heavy if the 99th percentile is so many times the median: one packet in a hundred then
waits for something else than its path."""

K = TypeVar("K")
V = TypeVar("V")

_Row = tuple[Cell, ...]


def calm(run: Run) -> str:
    """What is said if nothing is surprising."""
    blocks = len({trial.block for trial in run.counted})
    if blocks >= MIN_BLOCKS:
        return "Nothing surprising."
    boots = "1 boot" if blocks == 1 else f"{blocks} boots"
    return f"Nothing surprising; but {boots} a path cannot refute a claim, {MIN_BLOCKS} can."


def table(run: Run, claims: Sequence[Claim], boots: pd.DataFrame, found: Estimates) -> Table | None:
    """A row each, what matters most first; None if nothing is surprising.

    `boots` is what frames.per_boot gives.
    """
    rows = [
        *_refuted(claims),
        *_without_values(run),
        *_uncounted(run),
        *_failed(run),
        *_invalid(run),
        *_unsteady(run, boots),
        *_heavy_tails(run, found),
        *_losses(run, found),
        *_held_back(run, found),
    ]
    return of_words(("What", "Where", "Why, or how much"), rows) if rows else None


def _refuted(claims: Sequence[Claim]) -> Iterator[_Row]:
    for claim in claims:
        if claim.verdict == "refuted":
            yield (
                Cell("Claim refuted", kind="refuted"),
                Cell(f"{claim.number}. {claim.declared.short}"),
                Cell(claim.why),
            )


def _without_values(run: Run) -> Iterator[_Row]:
    """Paths of which nothing counts, and workloads of others that are as bare; those alike in why
    in one row. The idle baseline is none: only guests have one."""
    counted = {(t.path, t.workload) for t in run.counted}
    wanted = [workload for workload in run.workloads if workload != IDLE]
    bare = {path: [w for w in wanted if (path, w) not in counted] for path in run.paths}
    places = [
        (path if len(bare[path]) == len(wanted) else f"{path} ({', '.join(bare[path])})",
         _why_none(run, path))
        for path in run.paths
        if bare[path]
    ]  # fmt: skip
    for why, where in _grouped((why, place) for place, why in places).items():
        yield Cell("No value", kind="refuted"), Cell(", ".join(where)), Cell(why)


def _why_none(run: Run, path: str) -> str:
    for each in run.info.missing:
        if each.path == path:
            return f"lacks {each.capability}: {each.why}"
    if any(not t.valid for t in run.trials if t.path == path):
        return "no trial is valid, see below"
    if any(f.path == path for f in run.info.failures):
        return "boots failed, see below"
    return "no trial was made" + ("" if run.info.finished else " before the run ended")


def _uncounted(run: Run) -> Iterator[_Row]:
    if run.info.uncounted:
        yield Cell("Exits were not counted"), Cell("all paths"), Cell(run.info.uncounted)


def _failed(run: Run) -> Iterator[_Row]:
    for (path, error), boots in _grouped(((f.path, f.error), f) for f in run.info.failures).items():
        logs = ", ".join(f.log for f in boots if f.log)
        where = f"{path}: {_listed('boot', (f.boot for f in boots))}"
        yield Cell("Boot failed", kind="refuted"), Cell(where), Cell(error, logs and f"see {logs}")


def _invalid(run: Run) -> Iterator[_Row]:
    """Invalid trials; one row for those of a workload whose reasons differ in numbers only."""
    alike = _grouped(
        ((t.path, t.workload, re.sub(r"[\d.,]+", "0", "; ".join(t.reasons))), t)
        for t in run.trials
        if not t.valid
    )
    for (path, workload, _), trials in alike.items():
        total = sum((t.path, t.workload) == (path, workload) for t in run.trials)
        first, *others = dict.fromkeys(
            "; ".join(t.reasons) or "no reason was recorded" for t in trials
        )
        yield (
            Cell("Trial invalid", f"{len(trials)} of {total} there", kind="refuted"),
            Cell(f"{path}, {workload}", _where(trials)),
            Cell(first, " | ".join(others)),
        )


def _where(trials: Sequence[TrialRecord]) -> str:
    """ "boot 0: trials 1, 2; boot 3: warm-up 0"."""
    boots = _grouped(((t.boot, "warm-up" if t.warmup else "trial"), t.trial) for t in trials)
    return "; ".join(f"boot {boot}: {_listed(kind, each)}" for (boot, kind), each in boots.items())


def _unsteady(run: Run, boots: pd.DataFrame) -> Iterator[_Row]:
    """Figures by which a path is chosen, of boots that are far apart."""
    groups = boots.groupby(["path", "workload", "metric"])["value"].agg(["min", "max"])
    ends = {key: (float(low), float(high)) for key, low, high in groups.itertuples()}
    for workload, name in summarised(run):
        metric = metric_of(name)
        for path in run.paths if metric.chosen_for else ():
            low, high = ends.get((path, workload, name), (0.0, 0.0))
            if high > UNSTEADY * low and high - low > metric.margin.absolute:
                unit = style.unit(run.unit(name))
                spread = f"{style.number(low)} to {style.number(high)} {unit}"
                where = Cell(f"{path}, {workload}", metric.label)
                yield Cell("Boots differ"), where, Cell(spread)


def _heavy_tails(run: Run, found: Estimates) -> Iterator[_Row]:
    for (path, workload, name), figure in found.items():
        half = found.get((path, workload, "rtt_p50"))
        if name == "rtt_p99" and half is not None and figure.value >= HEAVY * half.value:
            values = f"{style.number(figure.value)} against {style.number(half.value)}"
            message = f"{values} {style.unit(run.unit(name))}"
            where = Cell(f"{path}, {workload}", "RTT, p99 against the median")
            yield Cell("Heavy tail"), where, Cell(message)


def _losses(run: Run, found: Estimates) -> Iterator[_Row]:
    """Workloads that lose more than what still counts as none."""
    none = metric_of("loss").margin.absolute
    for workload in run.workloads:
        lost = {path: found.get((path, workload, "loss")) for path in run.paths}
        told = [
            f"{path} {style.number(figure.value)} %"
            for path, figure in lost.items()
            if figure is not None and figure.value > none
        ]
        if told:
            yield Cell("Loss"), Cell(workload), Cell(", ".join(told))


def _held_back(run: Run, found: Estimates) -> Iterator[_Row]:
    """Rates that are the generator's: the path takes whatever it sends."""
    unit = style.unit(run.unit("pps"))
    for workload in run.workloads:
        trials = [trial for trial in run.counted if trial.workload == workload]
        held = [
            path
            for path in run.paths
            if (of := [held_back(trial) for trial in trials if trial.path == path]) and all(of)
        ]
        told = [
            f"{path} {style.number(figure.value)}"
            for path in held
            if (figure := found.get((path, workload, "pps"))) is not None
        ]
        if told:
            loop = run.info.generator_pps.get(workload)
            alone = f"; with no port and no guest {style.number(loop)} {unit}" if loop else ""
            why = f"the path takes all that is sent, and may take more{alone}"
            yield (
                Cell("The generator is the limit"),
                Cell(workload, ", ".join(held)),
                Cell(f"{', '.join(told)} {unit}: {why}"),
            )


def _listed(noun: str, numbers: Iterable[int]) -> str:
    each = [str(number) for number in numbers]
    return f"{noun}{'s' if len(each) > 1 else ''} {', '.join(each)}"


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
