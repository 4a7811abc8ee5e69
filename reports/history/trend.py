"""A metric over the runs of a history, and where its level changed. Runs in, numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from harness.core.metrics import metric_of
from harness.records.history.summaries import Summary
from harness.stats.levels import FEWEST, Level, levels, step
from reports.run import style


class Point(msgspec.Struct, frozen=True, gc=False):  # of these there are many
    """A run's figure: its median over boots, and their range."""

    place: int  # among all runs looked at, from 0
    run: str
    created: str
    finished: bool
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """A metric of one path and workload, oldest run first."""

    path: str
    workload: str
    unit: str  # by the clock of its runs
    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    colour: str  # of its path, as the newest run declares it
    left_out: Mapping[int, tuple[str, ...]]  # place of a run of another kind -> what differs

    @property
    def changes(self) -> tuple[tuple[Level, Level], ...]:
        """Each level with the one that came after it."""
        return tuple(itertools.pairwise(self.levels))


def panels(
    runs: Iterable[Summary], metric: str, path: str | None = None, workload: str | None = None
) -> tuple[Panel, ...]:
    """The metric over `runs`, oldest first, for each path and workload that has it.

    Only runs of the newest one's kind make a panel; others are left out, never mixed in.
    """
    found: dict[tuple[str, str], list[tuple[Point, Summary]]] = {}
    paths: dict[str, str] = {}  # to their colours, those of the newest run
    workloads: dict[str, None] = {}
    for place, run in enumerate(runs):
        paths |= run.paths
        workloads |= dict.fromkeys(run.kinds)
        for figure in run.figures.get(metric, ()):
            here = figure.path, figure.workload
            if path in (None, here[0]) and workload in (None, here[1]):
                spread = figure.value, figure.low, figure.high
                point = Point(place, run.run, run.created, run.finished, *spread)
                found.setdefault(here, []).append((point, run))
    order = itertools.product(paths, workloads)
    return tuple(_panel(metric, *key, paths[key[0]], found[key]) for key in order if key in found)


def _panel(
    metric: str, path: str, workload: str, colour: str, found: Sequence[tuple[Point, Summary]]
) -> Panel:
    newest = found[-1][1]
    kind, points, left_out = newest.kinds[workload], [], {}
    for point, run in found:
        other = run.kinds[workload]
        if other == kind:
            points.append(point)
        else:
            left_out[point.place] = tuple(key for key in kind if other[key] != kind[key])
    unit = metric_of(metric).unit_by(newest.clock)
    return Panel(path, workload, unit, tuple(points), _levels(points), colour, left_out)


def _levels(points: Sequence[Point]) -> tuple[Level, ...]:
    """The levels of the runs that were finished, as those of all points."""
    finished = [index for index, point in enumerate(points) if point.finished]
    return tuple(
        replace(level, first=finished[level.first], last=finished[level.last])
        for level in levels([points[index].value for index in finished])
    )


def describe(panels: Sequence[Panel], metric: str) -> Iterator[str]:
    """A line a change, a line a panel without one, and what was left out."""
    label = metric_of(metric).label
    for panel in panels:
        about = f"{panel.path}, {panel.workload}: {label}"
        count = sum(point.finished for point in panel.points)
        if count < FEWEST:
            yield f"{about}: too few runs to look for a change, {count} of {FEWEST}"
        elif not panel.changes:
            yield f"{about}: no change over {count} runs"
        for before, after in panel.changes:
            values = f"{style.number(before.value)} -> {style.number(after.value)} {panel.unit}"
            yield f"{about} {step(before, after)} with {panel.points[after.first].run}: {values}"
    yield from left_out(panels)


def left_out(panels: Sequence[Panel]) -> Iterator[str]:
    """A line on the runs that do not belong with the others, if there are any."""
    runs = {place for panel in panels for place in panel.left_out}
    keys = {key: None for panel in panels for each in panel.left_out.values() for key in each}
    if runs:
        count = f"{len(runs)} run{' is' if len(runs) == 1 else 's are'}"
        yield f"{count} left out, being unlike the newest in {', '.join(keys)}"
