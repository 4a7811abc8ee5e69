"""What a site shows of the runs in a history: groups of runs, and in each its series of figures."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from harness.core.metrics import Grounds, metric_of
from harness.core.units import Clock, Fidelity
from harness.records.history.runs import History, RunEntry
from harness.records.history.summaries import Summary
from harness.stats.levels import FEWEST, Level, step
from reports.history import trend
from reports.history.sources import summaries
from reports.history.trend import Panel, Point


@dataclass(frozen=True)
class Group:
    """The newest runs of one NIC on one host, of one series by name; oldest first."""

    name: str  # of the series; "" for none
    nic: str
    host: str
    entries: tuple[RunEntry, ...]
    summaries: tuple[Summary, ...]
    older: int  # runs that are not looked at

    @cached_property
    def slug(self) -> str:
        """Its page's name, the same whenever the site is made."""
        return _slug(self.nic, self.host, self.name or "unnamed")

    @property
    def title(self) -> str:
        named = f", series {self.name}" if self.name else ""
        return f"{self.nic} on {self.host}{named}"


@dataclass(frozen=True)
class Series:
    """A metric of a path and workload over the runs of a group."""

    group: Group
    metric: str
    panel: Panel

    @cached_property
    def slug(self) -> str:
        """As of a group."""
        group = self.group
        where = (group.nic, group.host, group.name or "unnamed")
        return _slug(*where, self.panel.path, self.panel.workload, self.metric)

    @property
    def label(self) -> str:
        return metric_of(self.metric).label

    @property
    def last(self) -> Point:
        return self.panel.points[-1]

    @property
    def grounds(self) -> Grounds:
        """How far its figures may be relied upon: all are of the last one's kind."""
        clock = cast(Clock, self.entry(self.last).clock)
        return metric_of(self.metric).grounds(self.fidelity, clock)

    @property
    def fidelity(self) -> Fidelity:
        """That of the newest run."""
        return cast(Fidelity, self.entry(self.last).fidelity)

    def entry(self, point: Point) -> RunEntry:
        return self.group.entries[point.place]

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Each change of level, the newest last."""
        return tuple(Change(self, *pair) for pair in self.panel.changes)

    @property
    def state(self) -> str:
        """What is to be said of its level where that never changed."""
        finished = sum(point.finished for point in self.panel.points)
        if finished < FEWEST:
            return f"too few runs to tell ({finished} of {FEWEST})"
        return f"no change in {finished} runs"


@dataclass(frozen=True)
class Change:
    """A level of a series that another one follows."""

    series: Series
    before: Level
    after: Level

    @property
    def entry(self) -> RunEntry:
        """The first run of the new level."""
        return self.series.entry(self.series.panel.points[self.after.first])

    @property
    def step(self) -> str:
        return step(self.before, self.after).replace("-", "\N{MINUS SIGN}")

    @property
    def judged(self) -> str:
        """ "better" or "worse"; "" for a metric that has neither."""
        better = {"higher": 1, "lower": -1, "none": 0}[metric_of(self.series.metric).better]
        found = better * (self.after.value - self.before.value)
        return "better" if found > 0 else "worse" if found < 0 else ""


def groups(
    history: History, name: str | None, metrics: Sequence[str], last: int
) -> tuple[Group, ...]:
    """The runs of a history by series, NIC and host, the `last` newest of each."""
    chosen: dict[tuple[str, str, str], list[RunEntry]] = defaultdict(list)
    older: dict[tuple[str, str, str], int] = defaultdict(int)
    for entry in history.entries(name):
        key = entry.name, entry.nic, entry.host
        if len(chosen[key]) < last:
            chosen[key].append(entry)
        else:
            older[key] += 1
    entries = [entry for of in chosen.values() for entry in reversed(of)]
    found: dict[tuple[str, str, str], list[tuple[RunEntry, Summary]]] = defaultdict(list)
    for entry, summary in summaries(history, entries, metrics):
        found[entry.name, entry.nic, entry.host].append((entry, summary))
    return tuple(_group(key, found[key], older[key]) for key in sorted(found))


def _group(
    key: tuple[str, str, str], found: Sequence[tuple[RunEntry, Summary]], older: int
) -> Group:
    entries, of = zip(*found, strict=True)
    return Group(*key, entries, of, older)


def series(group: Group, metrics: Sequence[str]) -> Iterator[Series]:
    """The series of a group, by path and workload."""
    found = [
        Series(group, metric, panel)
        for metric in metrics
        for panel in trend.panels(group.summaries, metric)
    ]
    paths, workloads = group.summaries[-1].paths, group.summaries[-1].kinds

    def place(each: Series) -> tuple[int, int]:
        return _index(paths, each.panel.path), _index(workloads, each.panel.workload)

    yield from sorted(found, key=place)


def _index(names: dict[str, str] | dict[str, dict[str, str]], name: str) -> int:
    """Its place among the names; one that is not there comes last."""
    return list(names).index(name) if name in names else len(names)


def _slug(*parts: str) -> str:
    """A file's name that tells what it is of, and is no other's."""
    words = (re.sub("[^a-z0-9.]+", "-", part.lower()).strip("-.") for part in parts)
    mark = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{'_'.join(filter(None, words))[:100]}-{mark}"
