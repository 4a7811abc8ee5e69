"""How long trials and starts of labs took, in the world's time: what a run to come will take."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


def always(seconds: float) -> Span:
    """Exactly so many."""
    return Span(seconds, seconds, seconds)


def span_of(seconds: Sequence[float]) -> Span:
    """Of what was seen: its median, and what nine of ten were above or below."""
    if len(seconds) < 2:
        return Span(seconds[0], seconds[0], seconds[0])
    tenths = statistics.quantiles(seconds, n=10, method="inclusive")
    return Span(tenths[0], statistics.median(seconds), tenths[-1])


@dataclass(frozen=True)
class Load:
    """A trial to come, or one that was made: its workload, with its parameters."""

    workload: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def nominal(self) -> float:
        """Seconds that it is told to take, its warm-up included; 0 of one that ends by itself."""
        if "seconds" not in self.parameters:
            return 0.0
        return float(self.parameters["seconds"]) + float(self.parameters.get("omit", "0"))


@dataclass(frozen=True)
class Took:
    """Seconds from the start of a trial to the start of the next one. Of the `last` of a boot they
    hold that boot's end and the next one's begin, too. By the world's clock its nominal ones are
    taken off: whatever it is told to take, the rest is the same."""

    path: str
    load: Load
    last: bool
    seconds: float


@dataclass(frozen=True)
class Pace:
    """What earlier runs took."""

    trials: tuple[Took, ...] = ()
    starts: tuple[float, ...] = ()  # of the lab, from the command to the first boot
    runs: int = 0
    wall: bool = False  # were they by the world's clock?

    @classmethod
    def of(cls, runs: Iterable[Run], *, wall: bool = False) -> Pace:
        """Of runs, those without two trials that are any good left out."""
        trials: list[Took] = []
        starts: list[float] = []
        count = 0
        for run in runs:
            found = tuple(_trials(run, wall=wall))
            trials += found
            starts += _start(run) if found else ()
            count += bool(found)
        return cls(tuple(trials), tuple(starts), count, wall)

    @property
    def start(self) -> Span:
        """Of a lab."""
        return span_of(self.starts) if self.starts else NOTHING

    def boot(self, path: str, loads: Sequence[Load]) -> Span:
        """Of a boot with these trials."""
        spans = (
            self._trial(path, load, last=place == len(loads) - 1)
            for place, load in enumerate(loads)
        )
        return sum(spans, NOTHING)

    def _trial(self, path: str, load: Load, *, last: bool) -> Span:
        """By trials as much alike as there are any."""
        name = load.workload
        alike = (
            lambda each: (each.path, each.load, each.last) == (path, load, last),
            lambda each: (each.load, each.last) == (load, last),
            lambda each: (each.path, each.load) == (path, load),
            lambda each: each.load == load,
            lambda each: (each.path, each.load.workload, each.last) == (path, name, last),
            lambda each: (each.load.workload, each.last) == (name, last),
            lambda each: each.load.workload == name,
            lambda each: each.last == last,
            lambda _: True,
        )
        found = (tuple(each.seconds for each in self.trials if rule(each)) for rule in alike)
        span = span_of(next(filter(None, found)))
        return span + always(load.nominal) if self.wall else span


def _trials(run: Run, *, wall: bool) -> Iterator[Took]:
    """A trial that failed is left out: it may have waited for what never came."""
    for this, following in pairwise(run.trials):
        if this.valid:
            ends = (this.path, this.variant, this.boot)
            last = ends != (following.path, following.variant, following.boot)
            seconds = (_time(following.started) - _time(this.started)).total_seconds()
            load = Load(this.workload, this.parameters)
            net = max(0.0, seconds - load.nominal) if wall else seconds
            yield Took(this.path, load, last, net)


def _start(run: Run) -> list[float]:
    """From when the run was asked for, which its id says, to when its rig was ready."""
    try:
        asked = datetime.strptime(run.info.run[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # an id of its own
        return []
    return [(_time(run.info.created) - asked).total_seconds()]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
