"""The report's tables as plain data, so that the page and its Markdown twin hold the same cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import pandas as pd

from harness.core.metrics import METRICS, Grounds, is_idle, metric_of
from harness.core.units import is_virtual
from harness.records.ratios import timeout_us
from harness.records.run import Run
from harness.records.trial import IDLE, STAMPS, USER
from harness.stats import estimates as stats
from harness.stats.estimates import Estimate
from reports.run import style
from reports.run.cells import Cell, Table
from reports.run.claims import Claim, Comparison

MARKS: dict[Grounds, str] = {"silicon": "", "software": "‡", "lab": "†"}
_MARK_MEANS: dict[Grounds, str] = {
    "software": "evidence for the software path, in virtual time; no rate or time of silicon.",
    "lab": "not evidence for silicon at this fidelity.",
}
_ABSENT = "—"

Estimates = Mapping[tuple[str, str, str], Estimate]  # (path, workload, metric)


def estimates(boots: pd.DataFrame) -> dict[tuple[str, str, str], Estimate]:
    """The figure of every path under every workload in every metric."""
    groups = boots.groupby(["path", "workload", "metric"], sort=False)["value"]
    return {
        (str(path), str(workload), str(metric)): stats.estimate([float(v) for v in values])
        for (path, workload, metric), values in groups
    }


def summary(run: Run, found: Estimates) -> Table | None:
    """Paths by the metrics one asks for first; those that are evidence here come first."""
    measured = {(workload, metric) for _, workload, metric in found}
    columns = [key for key in summarised(run) if key in measured]
    columns = columns or sorted(measured, key=lambda key: (run.workloads.index(key[0]), key[1]))
    columns.sort(key=lambda key: run.grounds(key[1]) != "silicon")
    if not columns:
        return None
    most = longest_wait(run)
    head = [("Path",), *(_metric_head(run, metric, workload) for workload, metric in columns)]
    rows = [
        (
            Cell(path, _state(run, path)),
            *(figure_cell(found.get((path, w, m)), m, most) for w, m in columns),
        )
        for path in run.paths
    ]
    return Table(tuple(head), tuple(rows), note=figures_note(run, found))


def summarised(run: Run) -> Iterator[tuple[str, str]]:
    """(workload, metric) that the workloads want in the summary, one metric after the other."""
    wanted = {workload: run.workload_facts(workload).summary for workload in run.workloads}
    for metric in dict.fromkeys(chain.from_iterable(wanted.values())):
        yield from ((workload, metric) for workload in wanted if metric in wanted[workload])


def _state(run: Run, path: str) -> str:
    """Why a path has no figures, in a word."""
    if any(t.path == path for t in run.counted):
        return ""
    if any(m.path == path for m in run.info.missing):
        return "missing"
    return "failed" if any(f.path == path for f in run.info.failures) else "no valid trial"


def by_workload(run: Run, found: Estimates) -> list[Table]:
    """For each workload everything that was measured: metrics down, paths across."""
    tables, most = [], longest_wait(run)
    for workload in run.workloads:
        metrics = _ordered_metrics(m for _, w, m in found if w == workload)
        paths = [p for p in run.paths if any((p, workload, m) in found for m in metrics)]
        rows = [
            (
                Cell(marked(run, metric), style.unit(run.unit(metric))),
                *(figure_cell(found.get((path, workload, metric)), metric, most) for path in paths),
            )
            for metric in metrics
        ]
        if rows:
            head = (("Metric",), *((path,) for path in paths))
            tables.append(Table(head, tuple(rows), title=workload))
    return tables


def exits_by_reason(run: Run, exits: pd.DataFrame) -> list[Table]:
    """Per workload, a row a reason: exits per packet, and below it their CPU time per packet."""
    tables = []
    for workload in (w for w in run.workloads if w != IDLE):
        here = exits[(exits["workload"] == workload) & exits["per_packet"].notna()]
        paths = [p for p in run.paths if (here["path"] == p).any()]
        totals = here.groupby("reason")["per_packet"].sum().sort_values(ascending=False)
        seen = [str(reason) for reason in totals[totals > 0].index]
        order = sorted(seen, key=is_idle)  # stable: most frequent first, the idle ones last
        rows = [
            (
                Cell(reason, "idle, not in totals" if is_idle(reason) else ""),
                *(_reason_cell(here, path, reason) for path in paths),
            )
            for reason in order
        ]
        if rows:
            head = (("Reason",), *((path,) for path in paths))
            tables.append(Table(head, tuple(rows), title=workload))
    return tables


def comparisons(claim: Claim) -> Table:
    """The comparisons a claim rests on."""
    head = (
        ("Comparison",), ("Verdict",), ("Ratio", "[95 %]"), ("p adjusted",), ("p",), ("Blocks",)
    )  # fmt: skip
    return Table(head, tuple(_comparison(c, claim) for c in claim.comparisons))


def _comparison(c: Comparison, claim: Claim) -> tuple[Cell, ...]:
    if c.result is None:
        ratio = Cell(_ABSENT)
    else:
        low, high = style.number(c.result.low), style.number(c.result.high)
        few = c.blocks < stats.MIN_BLOCKS
        ratio = Cell(style.number(c.result.ratio), f"{'range ' if few else ''}[{low}, {high}]")
    return (
        Cell(f"{c.left} / {c.right}", f"{c.workload}, expected {c.side} {c.bound:g}"),
        Cell(c.verdict, "" if c.why == claim.why else c.why, c.verdict),
        ratio,
        Cell(_ABSENT if c.adjusted is None else f"{c.adjusted:.2g}"),
        Cell(_ABSENT if c.p is None else f"{c.p:.2g}"),
        Cell(str(c.blocks)),
    )


def workloads(run: Run) -> Table:
    """What was run: parameters, window, and how many trials count."""
    rows = []
    seconds = "virtual s" if is_virtual(run.info.clock) else "s"
    for workload in run.workloads:
        trials = [t for t in run.trials if t.workload == workload]
        counted = [t for t in run.counted if t.workload == workload]
        warm = sum(t.warmup for t in trials)
        windows = pd.Series([t.window_ns / 1e9 for t in counted], dtype="float64")
        length = f"{windows.median():.2f} {seconds}" if counted else _ABSENT
        tally = f"{len(counted)} of {len(trials) - warm}"
        rows.append(
            (Cell(workload), Cell(_parameters(t.parameters for t in trials)), Cell(length),
             Cell(tally, f"and {warm} warm-up{'s' if warm != 1 else ''}" if warm else ""))
        )  # fmt: skip
    return of_words(("Workload", "Parameters", "Median window", "Trials that count"), rows)


def proofs(run: Run) -> Table:
    """How often each piece of evidence for the path held, over trials that are no warm-up."""
    tally: dict[str, dict[str, list[bool]]] = {}
    for trial in (t for t in run.trials if not t.warmup):
        for proof in trial.proofs:
            tally.setdefault(trial.path, {}).setdefault(proof.name, []).append(proof.holds)
    names = list(dict.fromkeys(name for held in tally.values() for name in held))
    rows = [
        (Cell(path), *(_held(tally[path].get(name)) for name in names))
        for path in run.paths
        if path in tally
    ]
    return Table((("Path",), *((name,) for name in names)), tuple(rows))


def offloads(run: Run) -> Table:
    """Which offloads the guest's interface had on: they decide what its own counters mean."""
    rows = []
    for path in run.paths:
        states = [t.offloads for t in run.counted if t.path == path and t.offloads]
        on = sorted({name for state in states for name, value in state.items() if value})
        if states:
            rows.append((Cell(path), Cell(", ".join(on) or "none")))
    return of_words(("Path", "Offloads on in the guest"), rows)


def environment(run: Run) -> list[Table]:
    sections = {**run.info.environment, "instruments": instruments(run)}
    return [
        Table((), tuple((Cell(k), Cell(v)) for k, v in entries.items()), title=section, text=True)
        for section, entries in sections.items()
        if entries
    ]


def instruments(run: Run) -> dict[str, str]:
    """What measured, over all trials that count."""
    seen: dict[str, dict[str, None]] = {}
    for trial in run.counted:
        for what, which in trial.instruments.items():
            seen.setdefault(what, {})[which] = None
    found = {what: " or ".join(each) for what, each in seen.items()}
    if USER in seen.get(STAMPS, {}):
        found[STAMPS] += " (the prober's own clock: 25 to 61 us more than the kernel's stamps)"
    return found


def figures_note(run: Run, found: Estimates) -> str:
    """How to read a table of figures."""
    few = any(figure.indicative for figure in found.values())
    enough = any(not figure.indicative for figure in found.values())
    parts = []
    if enough:
        parts.append("Brackets: 95 % interval over boots.")
    if few:
        parts.append(
            f"{'Brackets marked *' if enough else 'Brackets'}: lowest and highest boot, "
            f"indicative, as there are fewer than {stats.MIN_BLOCKS}."
        )
    grounds = {run.grounds(metric) for _, _, metric in found}
    parts += [f"{MARKS[g]} {means}" for g, means in _MARK_MEANS.items() if g in grounds]
    if (most := longest_wait(run)) < math.inf:
        wait = f"{style.number(most)} {style.unit('us')}"
        parts.append(f"A probe without an answer counts as {wait}, as long as it waited (≥).")
    parts.append(f"{_ABSENT} not measured; without a guest there are no exits to count.")
    return " ".join(parts)


def longest_wait(run: Run) -> float:
    """The shortest time in us after which a probe of this run was given up."""
    return min((timeout_us(trial) for trial in run.counted if trial.lost), default=math.inf)


def figure_cell(found: Estimate | None, metric: str, most: float) -> Cell:
    if found is None:
        return Cell(_ABSENT, kind="absent")
    value, brackets = style.spread(found)
    if metric.startswith("rtt_") and found.value >= most:
        value = f"≥\N{NO-BREAK SPACE}{value}"
    return Cell(value, brackets + ("*" if found.indicative else ""))


def _reason_cell(exits: pd.DataFrame, path: str, reason: str) -> Cell:
    rows = exits[(exits["path"] == path) & (exits["reason"] == reason)]
    if rows.empty:
        return Cell(_ABSENT, kind="absent")
    count = stats.hodges_lehmann([float(v) for v in rows["per_packet"]])
    times = [float(v) for v in rows["us_per_packet"].dropna()]
    spent = f"{style.number(stats.hodges_lehmann(times))} {style.unit('us')}" if times else ""
    return Cell(style.number(count), spent)


def _held(results: Sequence[bool] | None) -> Cell:
    if not results:
        return Cell(_ABSENT, kind="absent")
    kind = "" if all(results) else "refuted"
    return Cell(f"{sum(results)} of {len(results)}", kind=kind)


def of_words(head: Sequence[str], rows: Sequence[tuple[Cell, ...]]) -> Table:
    """Set from the left."""
    return Table(tuple((name,) for name in head), tuple(rows), text=True)


def _parameters(sets: Iterable[Mapping[str, str]]) -> str:
    values: dict[str, dict[str, None]] = {}
    for parameters in sets:
        for name, value in parameters.items():
            values.setdefault(name, {})[value] = None
    return ", ".join(f"{name} = {' or '.join(seen)}" for name, seen in values.items()) or _ABSENT


def _metric_head(run: Run, metric: str, workload: str) -> tuple[str, ...]:
    return (workload, marked(run, metric), style.unit(run.unit(metric)))


def marked(run: Run, metric: str) -> str:
    mark = MARKS[run.grounds(metric)]
    return metric_of(metric).label + (f"\N{NO-BREAK SPACE}{mark}" if mark else "")


def _ordered_metrics(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of harness.core.metrics.METRICS, unknown ones last."""
    known = list(METRICS)
    unique = set(names)
    return [name for name in known if name in unique] + sorted(unique - set(known))
