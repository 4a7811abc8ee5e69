"""Which path into a guest, for what? The answer with which a report begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.core.metrics import metric_of
from harness.records.run import Run
from harness.stats.estimates import Estimate
from reports.run import style, words
from reports.run.cells import Cell, Table
from reports.run.tables import (
    Estimates,
    figure_cell,
    longest_wait,
    marked,
    summarised,
)


@dataclass(frozen=True)
class Answer:
    """Paths into a guest, by one figure, the best first."""

    workload: str
    metric: str
    ranked: Sequence[tuple[str, Estimate]]

    @property
    def best(self) -> tuple[str, ...]:
        """The best path, and those whose intervals overlap that one's."""
        _, first = self.ranked[0]
        return tuple(
            path
            for path, figure in self.ranked
            if figure.low <= first.high and first.low <= figure.high
        )

    @property
    def decides(self) -> bool:
        """Is any path worse than the best?"""
        return len(self.best) < len(self.ranked)


def answers(run: Run, found: Estimates) -> list[Answer]:
    """One for each figure by which a path is chosen, where two paths into a guest have it."""
    return [each for each in _all(run, found) if len(each.ranked) > 1]


def _all(run: Run, found: Estimates) -> Iterator[Answer]:
    guests = [path for path in run.paths if run.path_facts(path).kind != "native"]
    for workload, metric in summarised(run):
        if metric_of(metric).chosen_for:
            key = {path: found.get((path, workload, metric)) for path in guests}
            there = [(path, figure) for path, figure in key.items() if figure is not None]
            sign = -1 if metric_of(metric).better == "higher" else 1
            yield Answer(workload, metric, sorted(there, key=lambda each: sign * each[1].value))


def headline(given: Sequence[Answer]) -> str:
    """In a line, a clause for each figure; "" if none decides. Workloads are named where they have
    different answers."""
    by_metric: dict[str, dict[str, str]] = {}
    for each in given:
        if each.decides:
            by_metric.setdefault(each.metric, {})[each.workload] = any_of(each.best)
    clauses = [
        f"{metric_of(metric).chosen_for}: {_clause(best)}" for metric, best in by_metric.items()
    ]
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}" if text else ""


def _clause(best: Mapping[str, str]) -> str:
    """Of workload -> paths."""
    if len(set(best.values())) == 1:
        return next(iter(best.values()))
    return ", ".join(f"{paths} ({workload})" for workload, paths in best.items())


def any_of(paths: Sequence[str]) -> str:
    """ "sriov", "sriov or virtio", "e1000e, sriov or virtio"."""
    *others, last = paths
    return f"{', '.join(others)} or {last}" if others else last


def table(run: Run, given: Sequence[Answer]) -> Table | None:
    """A row an answer: what is asked, the best path, its figure, and the last path's."""
    if not given:
        return None
    head = (("For",), ("Path",), ("Figure",), ("Last",))
    return Table(head, tuple(_row(run, each) for each in given), text=True)


def _row(run: Run, answer: Answer) -> tuple[Cell, ...]:
    metric = metric_of(answer.metric)
    path, figure = answer.ranked[0]
    best = figure_cell(figure, answer.metric, longest_wait(run))
    tied = answer.best[1:]
    unit = style.unit(run.unit(answer.metric))
    return (
        Cell(
            f"{words.phrase(run, answer.workload)}: {metric.chosen_for}",
            marked(run, answer.metric),
        ),
        Cell(path, f"or {any_of(tied)}, within the spread" if tied else ""),
        replace(best, text=f"{best.text} {unit}"),
        _last(answer, figure) if answer.decides else Cell("no path is worse"),
    )


def _last(answer: Answer, best: Estimate) -> Cell:
    path, figure = answer.ranked[-1]
    if not (best.value and figure.value):
        return Cell(path, style.number(figure.value))
    times = style.times(figure.value / best.value)
    return Cell(path, f"{style.number(figure.value)}, {times} times")
