"""A metric over the runs of a history, and where its level changed. Runs in, numbers out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import ruptures
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from reports import style
from reports.frames import Run, measurements, metric_of, per_boot
from reports.regression.comparable import fingerprint

SHORTEST = 3
"""Runs that a level lasts at least: one run, or two, that are off are no new level."""
FEWEST = 8
"""With fewer runs no change is sought: their noise could not be told from a step."""
PENALTY = 5.0
OFF = 3.0
"""Standard deviations from the median of the five runs around it beyond which a run is off: it may
not make a level of its own together with its neighbours."""
FLOOR = 0.002
"""Relative noise of a run that is assumed at least: figures of a virtual clock may repeat exactly,
and a step of any size would then stand out."""

_NORMAL = 1.4826 / math.sqrt(2)  # from the median of absolute differences to a standard deviation


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Indices, in order, of the values with which a new level begins; none if nothing changed.

    PELT (Killick, Fearnhead and Eckley, 2012) finds the levels with the least squared errors of
    the logarithms, so that a step counts by its ratio, plus PENALTY s^2 log n for each change. s is
    the noise, from the median of absolute differences of neighbours, in which a step is a single
    outlier. PENALTY was chosen by simulation, which a self-test repeats: with 1.5 % noise 1 in 100
    flat series of 30 runs shows a change (1 in 25 of 10 runs), and 97 of 100 steps by 5 % are
    found; of 10 runs it takes a step by 10 %.
    """
    if len(values) < FEWEST:
        return ()
    signal = _scaled(np.asarray(values, dtype=np.float64))
    noise = max(FLOOR, _NORMAL * float(np.median(np.abs(np.diff(signal)))))
    near = median_filter(signal, 5, mode="mirror")
    signal = np.clip(signal, near - OFF * noise, near + OFF * noise)
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(signal[:, np.newaxis])
    ends: list[int] = search.predict(pen=PENALTY * noise**2 * math.log(len(signal)))
    return tuple(ends[:-1])


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms; where some value has none, the values in units of their typical size."""
    if (values > 0).all():
        logarithms: NDArray[np.float64] = np.log(values)
        return logarithms
    size = float(np.median(np.abs(values))) or float(np.abs(values).max()) or 1.0
    return values / size


@dataclass(frozen=True)
class Point:
    """A run's figure: its median over boots, and their range."""

    place: int  # among all runs looked at, from 0
    run: str
    created: str
    finished: bool
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Level:
    """Runs between two changes; `value` is the median of theirs."""

    first: int  # index of its first point
    last: int
    value: float


@dataclass(frozen=True)
class Panel:
    """A metric of one path and workload, oldest run first."""

    path: str
    workload: str
    unit: str  # by the clock of its runs
    points: tuple[Point, ...]
    levels: tuple[Level, ...]
    left_out: Mapping[int, tuple[str, ...]]  # place of a run of another kind -> what differs

    @property
    def changes(self) -> tuple[tuple[Level, Level], ...]:
        """Each level with the one that came after it."""
        return tuple(zip(self.levels, self.levels[1:], strict=False))


def panels(
    runs: Iterable[Run], metric: str, path: str | None = None, workload: str | None = None
) -> tuple[Panel, ...]:
    """The metric over `runs`, oldest first, for each path and workload that has it.

    Only runs of the newest one's kind make a panel; others are left out, never mixed in.
    """
    found: dict[tuple[str, str], list[_Found]] = {}
    paths: dict[str, None] = {}
    workloads: dict[str, None] = {}
    for place, run in enumerate(runs):
        paths |= dict.fromkeys(run.paths)
        workloads |= dict.fromkeys(run.workloads)
        boots = per_boot(measurements(run))
        boots = boots[boots["metric"] == metric]
        for key, group in boots.groupby(["path", "workload"])["value"]:
            here = str(key[0]), str(key[1])
            if path in (None, here[0]) and workload in (None, here[1]):
                spread = float(group.median()), float(group.min()), float(group.max())
                info = run.info
                point = Point(place, info.run, info.created, info.finished, *spread)
                each = _Found(point, kind(run, here[1]), run.unit(metric))
                found.setdefault(here, []).append(each)
    order = itertools.product(paths, workloads)
    return tuple(_panel(*key, found[key]) for key in order if key in found)


@dataclass(frozen=True)
class _Found:
    point: Point
    kind: dict[str, str]
    unit: str


def kind(run: Run, workload: str) -> dict[str, str]:
    """What must be the same in two runs for their figures of a workload to make one series."""
    own = Run(run.info, tuple(trial for trial in run.trials if trial.workload == workload))
    chosen = sorted((key, value) for key, value in run.info.options.items() if key != "quick")
    return fingerprint(own) | {"options": str(chosen)}


def _panel(path: str, workload: str, found: Sequence[_Found]) -> Panel:
    newest = found[-1]
    points = tuple(each.point for each in found if each.kind == newest.kind)
    left_out = {
        each.point.place: tuple(key for key in newest.kind if each.kind[key] != newest.kind[key])
        for each in found
        if each.kind != newest.kind
    }
    values = [point.value for point in points]
    return Panel(path, workload, newest.unit, points, levels(values), left_out)


def levels(values: Sequence[float]) -> tuple[Level, ...]:
    """The levels of a series of at least one value, in order."""
    starts = (0, *change_points(values))
    ends = (*starts[1:], len(values))
    return tuple(
        Level(start, end - 1, float(np.median(values[start:end])))
        for start, end in zip(starts, ends, strict=True)
    )


def told(panels: Sequence[Panel], metric: str) -> Iterator[str]:
    """A line a change, a line a panel without one, and what was left out."""
    label = metric_of(metric).label
    for panel in panels:
        about, count = f"{panel.path}, {panel.workload}: {label}", len(panel.points)
        if not panel.changes:
            few = f", too few to look for one (it takes {FEWEST})" if count < FEWEST else ""
            yield f"{about}: no change over {count} run{'' if count == 1 else 's'}{few}"
        for before, after in panel.changes:
            values = f"{style.number(before.value)} -> {style.number(after.value)} {panel.unit}"
            yield f"{about} {percent(before, after)} with {panel.points[after.first].run}: {values}"
    yield from left_out(panels)


def percent(before: Level, after: Level) -> str:
    """A step, as it is written."""
    if not before.value:
        return "from none"
    return f"{100 * (after.value / before.value - 1):+.1f} %"


def left_out(panels: Sequence[Panel]) -> Iterator[str]:
    """A line on the runs that do not belong with the others, if there are any."""
    runs = {place for panel in panels for place in panel.left_out}
    keys = {key: None for panel in panels for each in panel.left_out.values() for key in each}
    if runs:
        count = f"{len(runs)} run{' is' if len(runs) == 1 else 's are'}"
        yield f"{count} left out, being unlike the newest in {', '.join(keys)}"
