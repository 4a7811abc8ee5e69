"""A run over a grid of configurations: its figures along an axis, and where they stop gaining.

A step between two neighbours is judged as `nicproof ab` judges two configurations, since the blocks
of a sweep are interleaved as those are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from harness.comparison import sequential_pairs
from harness.comparison.verdict import Verdict
from harness.core.metrics import PRIMARY, metric_of
from harness.records.boots import Boots, boots_of
from harness.records.ratios import values_of, watched_ns
from harness.records.run import Run, of_variant
from harness.records.trial import CLIENT, IDLE, PLACEMENT, TrialRecord, section
from harness.stats import estimates
from harness.stats.estimates import Estimate

FULL = 0.95
"""Share of a CPU's time from which on it is called full: what is left is the window's edges."""

THREADED = "a thread for each stream"
"""In the record of an iperf3 (harness.workloads.iperf3_version.recorded)."""


@dataclass(frozen=True)
class Point:
    """A value of the axis: its configuration's name, and the figure there, if it was measured."""

    value: str
    variant: str
    figure: Estimate | None
    boots: Mapping[int, float]  # by block


@dataclass(frozen=True)
class Curve:
    """A figure along an axis, where the other axes have the values `held`."""

    path: str
    workload: str
    metric: str
    axis: str
    held: Mapping[str, str]
    points: tuple[Point, ...]
    steps: tuple[Verdict, ...]  # from each point to the next one

    @property
    def knee(self) -> int | None:
        """Up to which point the figure gains: it is shown to gain into that one, and not to after
        it; 0 if it never gains. None if that is not shown."""
        still = ("no change", "regression")
        for at in range(len(self.points) - 1):
            if all(verdict in still for verdict in self.steps[at:]):
                return at if at == 0 or self.steps[at - 1] == "improvement" else None
        return None


@dataclass(frozen=True)
class Knee:
    """Where a curve stops gaining, and which CPU was full there, as far as records say so."""

    curve: Curve
    at: int
    full: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """ "virtio-vhost/tcp-tx stops gaining at queues = 2 (guest-cpus = 2) in throughput: vhost's
        2 CPUs are full"."""
        curve, value = self.curve, self.curve.points[self.at].value
        label = metric_of(curve.metric).label.lower()
        gains = "stops gaining at" if self.at else "gains nothing beyond"
        others = ", ".join(f"{name} = {held}" for name, held in curve.held.items())
        where = f"{curve.axis} = {value}{f' ({others})' if others else ''}"
        one = len(self.full) == 1 and self.full[0].endswith("CPU")
        why = f": {' and '.join(self.full)} {'is' if one else 'are'} full" if self.full else ""
        return f"{curve.path}/{curve.workload} {gains} {where} in {label}{why}"


def values_along(run: Run, axis: str) -> tuple[str, ...]:
    """The values of an axis: by size if they are numbers, else as they were given."""
    found = tuple(dict.fromkeys(own[axis] for own in run.info.variants.values()))
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return found


def curves(run: Run, axis: str) -> Iterator[Curve]:
    """All curves of the primary figures along an axis that have a point."""
    boots = {name: boots_of(of_variant(run, name)) for name in run.info.variants}

    @cache
    def judged(left: str, right: str) -> Mapping[tuple[str, str, str], Verdict]:
        found = sequential_pairs.judge(boots[left], boots[right], run.info.boots)
        return {(each.path, each.workload, each.metric): each.verdict for each in found}

    for held, names in _rows(run, axis):
        for key in _figures(run, [boots[name] for name in names.values()]):
            points = tuple(_point(value, name, boots[name], key) for value, name in names.items())
            if not any(point.figure for point in points):
                continue
            steps = tuple(
                judged(one.variant, other.variant).get(key, "undecided")
                for one, other in pairwise(points)
            )
            yield Curve(*key, axis, held, points, steps)


def knees(run: Run, of: Iterable[Curve]) -> Iterator[Knee]:
    """What can be told of curves, of figures of which more is better."""
    for curve in of:
        if metric_of(curve.metric).better == "higher" and (at := curve.knee) is not None:
            yield Knee(curve, at, full_at(run, curve, at))


def full_at(run: Run, curve: Curve, at: int) -> tuple[str, ...]:
    """Whose CPUs were full at a point of a curve, in words, as far as its records say."""
    variant = curve.points[at].variant
    trials = [
        trial
        for trial in run.counted
        if (trial.variant, trial.path, trial.workload) == (variant, curve.path, curve.workload)
    ]
    placed = run.info.environment.get(section(PLACEMENT, variant), {})
    shares: dict[str, list[float]] = {}
    for trial in trials:
        for who, share in _shares(trial, placed):
            shares.setdefault(who, []).append(share)
    return tuple(who for who, seen in shares.items() if statistics.median(seen) >= FULL)


def _rows(run: Run, axis: str) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The values of the other axes, and with each of them value -> configuration's name."""
    order = values_along(run, axis)
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for name, own in run.info.variants.items():
        held = tuple((other, own[other]) for other in run.info.axes if other != axis)
        rows.setdefault(held, {})[own[axis]] = name
    for held, names in rows.items():
        yield dict(held), {value: names[value] for value in order if value in names}


def _figures(run: Run, boots: Sequence[Boots]) -> Iterator[tuple[str, str, str]]:
    """Path, workload and metric of what was measured anywhere, in the order of the run."""
    seen = {key for each in boots for key in each}
    for path in run.paths:
        for workload in run.workloads:
            for metric in PRIMARY:
                if workload != IDLE and (path, workload, metric) in seen:
                    yield path, workload, metric


def _point(value: str, name: str, boots: Boots, key: tuple[str, str, str]) -> Point:
    there = boots.get(key, {})
    figure = estimates.estimate(list(there.values())) if there else None
    return Point(value, name, figure, there)


def _shares(trial: TrialRecord, placed: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Who has CPUs of its own, and which share of their time it took."""
    watched, halting = (
        trial.counters.get("vcpus.window_ns"),
        values_of(trial).get("halt_time_share"),
    )
    if watched and halting is not None:
        share = trial.counters["cpu.vcpu_ns"] / watched - halting / 100
        yield _cpus("the guest's", round(watched / watched_ns(trial))), share
    for whose, who, counter in (
        ("vhost's", "vhost", "cpu.vhost_ns"),
        ("QEMU's", "QEMU's other threads", "cpu.qemu_ns"),
    ):
        cpus, spent_ns = count_of(placed.get(who, "")), trial.counters.get(counter)
        if cpus and spent_ns is not None:
            yield _cpus(whose, cpus), spent_ns / (watched_ns(trial) * cpus)
    cpus = count_of(placed.get("the partner's programs", ""))
    percent = trial.metrics.get("partner_cpu")
    if cpus and percent is not None:
        streams = int(trial.parameters.get("parallel", "1"))
        used = min(cpus, streams) if THREADED in trial.instruments.get(CLIENT, "") else 1
        yield _cpus("the partner's", used), percent / 100 / used


def _cpus(whose: str, count: int) -> str:
    return f"{whose} CPU" if count == 1 else f"{whose} {count} CPUs"


def count_of(ranges: str) -> int:
    """CPUs in "2-3,7"; 0 of what is in words."""
    parts = [part.partition("-") for part in ranges.split(",")]
    if not all(low.isdigit() and (high.isdigit() or not high) for low, _, high in parts):
        return 0
    return sum(int(high or low) - int(low) + 1 for low, _, high in parts)
