"""How long trials and starts of labs took, in the world's time: what a run to come will take."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from harness.records.run import Run


class Span(msgspec.Struct, frozen=True):
    """Seconds: the least and the most that are likely, and the usual between them."""

    low: float
    usual: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.usual + other.usual, self.high + other.high)

    def __mul__(self, times: int) -> Span:
        return Span(self.low * times, self.usual * times, self.high * times)

    def __str__(self) -> str:
        """In words: "about 9 min (6 to 14)"."""
        unit, name = (1.0, "s") if self.high < SHORT_S else (60.0, "min")
        low, usual, high = (f"{each / unit:.0f}" for each in (self.low, self.usual, self.high))
        return f"about {usual} {name}{f' ({low} to {high})' if low != high else ''}"


SHORT_S = 180.0
"""What is shorter is told in seconds."""

NOTHING = Span(0.0, 0.0, 0.0)


def span_of(seconds: Sequence[float]) -> Span:
    """Of what was seen: its median, and what nine of ten were above or below."""
    if len(seconds) < 2:
        return Span(seconds[0], seconds[0], seconds[0])
    tenths = statistics.quantiles(seconds, n=10, method="inclusive")
    return Span(tenths[0], statistics.median(seconds), tenths[-1])


@dataclass(frozen=True)
class Took:
    """Seconds from the start of a trial to the start of the next one. Of the `last` of a boot they
    hold that boot's end and the next one's begin, too."""

    path: str
    workload: str
    last: bool
    seconds: float


@dataclass(frozen=True)
class Pace:
    """What earlier runs took."""

    trials: tuple[Took, ...] = ()
    starts: tuple[float, ...] = ()  # of the lab, from the command to the first boot
    runs: int = 0

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Pace:
        """Of runs, those without two trials that are any good left out."""
        trials: list[Took] = []
        starts: list[float] = []
        count = 0
        for run in runs:
            found = tuple(_trials(run))
            trials += found
            starts += _start(run) if found else ()
            count += bool(found)
        return cls(tuple(trials), tuple(starts), count)

    @property
    def start(self) -> Span:
        """Of a lab."""
        return span_of(self.starts) if self.starts else NOTHING

    def boot(self, path: str, workloads: Sequence[str]) -> Span:
        """Of a boot with trials of these workloads."""
        spans = (
            self._trial(path, workload, last=place == len(workloads) - 1)
            for place, workload in enumerate(workloads)
        )
        return sum(spans, NOTHING)

    def _trial(self, path: str, workload: str, *, last: bool) -> Span:
        """By trials as much alike as there are any."""
        alike = (
            lambda each: (each.path, each.workload, each.last) == (path, workload, last),
            lambda each: (each.workload, each.last) == (workload, last),
            lambda each: (each.path, each.workload) == (path, workload),
            lambda each: each.workload == workload,
            lambda each: each.last == last,
            lambda _: True,
        )
        found = (tuple(each.seconds for each in self.trials if rule(each)) for rule in alike)
        return span_of(next(filter(None, found)))


def _trials(run: Run) -> Iterator[Took]:
    """A trial that failed is left out: it may have waited for what never came."""
    for this, following in pairwise(run.trials):
        if this.valid:
            ends = (this.path, this.variant, this.boot)
            last = ends != (following.path, following.variant, following.boot)
            seconds = (_time(following.started) - _time(this.started)).total_seconds()
            yield Took(this.path, this.workload, last, seconds)


def _start(run: Run) -> list[float]:
    """From when the run was asked for, which its id says, to when its rig was ready."""
    try:
        asked = datetime.strptime(run.info.run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # an id of its own
        return []
    return [(_time(run.info.created) - asked).total_seconds()]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
