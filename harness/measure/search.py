"""The highest rates of a path, found by FD.io's MLRsearch (draft-ietf-bmwg-mlrsearch): trials at
rates that it chooses, until the rate of each goal is known within its width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from harness.core.units import NS_PER_S
from harness.records.trial import DELIVERED, DROPPED, SENT, TrialRecord
from harness.workloads.ndr import GOALS, WIDTH, Ndr
from harness.workloads.pps import Pps

LEAST = 1000
"""The search begins at the rate that the generator reaches, and ends at one so many times lower."""

PATIENCE = 24 * 3600.0
"""Seconds of the world's time for a search: each of its trials has a limit of its own."""

COUNTED = ("frames.", DROPPED)
"""What counters of a search's trials are added up in its record begin with."""

SLOWER = 0.01
"""The share by which a generator may miss its rate and still be said to keep it. What it kept is
what counts in the end."""

TWICE = 2
"""A path without loss at twice the rate that it delivers when it is flooded is not to be found."""


@dataclass(frozen=True)
class Step:
    """What became of one trial of a search."""

    rate: int  # frames a second that it was to send
    seconds: float  # and for how long
    sent: int
    lost: int
    late: int  # delivered, but only when the sending was over for longer than one takes
    ns: int  # from the first to the last one sent

    @property
    def offered(self) -> float:
        """Frames a second that were sent."""
        return self.sent * NS_PER_S / self.ns


@dataclass(frozen=True)
class Bounds:
    """A rate is between these, in frames a second: at the lower one the goal was kept."""

    low: float
    high: float | None  # None: it was kept at the highest one that can be sent


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    limit: float  # frames a second up to which was searched
    rates: dict[str, float] = field(default_factory=dict)  # by GOALS; without those not found
    bounds: dict[str, Bounds] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def raw(self) -> str:
        """For the record, as JSON."""
        return msgspec.json.encode(asdict(self)).decode()


def search(measure: Callable[[int, float], Step], most: float, first: float, last: float) -> Found:
    """Search up to `most` frames a second, by trials of `first` to `last` seconds.

    `measure` makes one at a rate and for so long. What it raises passes through.
    """
    # Imported late: only a search needs it.
    from MLRsearch import Config, MultipleLossRatioSearch, SearchGoal

    measurer = _measurer(measure)
    goals = {name: _goal(SearchGoal, ratio, first, last) for name, ratio in GOALS.items()}
    config = Config()
    config.goals = goals.values()
    config.max_load, config.min_load = most, most / LEAST
    config.warmup_duration, config.search_duration_max = 0.0, PATIENCE
    results = MultipleLossRatioSearch(config).search(measurer, debug=lambda _: None)
    rates: dict[str, float] = {}
    bounds: dict[str, Bounds] = {}
    for name, goal in goals.items():
        result = results[goal]
        if result.conditional_throughput is None:
            continue
        low, high = result.relevant_lower_bound, result.relevant_upper_bound
        rates[name] = measurer.kept[round(float(low))]
        bounds[name] = Bounds(float(low), None if high is None else float(high))
    return Found(most, rates, bounds, tuple(measurer.steps))


def _goal(kind: Any, ratio: float, first: float, last: float) -> Any:
    return kind(
        loss_ratio=ratio,
        exceed_ratio=0.0,
        relative_width=WIDTH,
        initial_trial_duration=first,
        final_trial_duration=last,
        duration_sum=last,
        preceding_targets=int(first < last),
        expansion_coefficient=2,
        fail_fast=False,
    )


def _measurer(measure: Callable[[int, float], Step]) -> Any:
    from MLRsearch import AbstractMeasurer, MeasurementResult

    class Measurer(AbstractMeasurer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.steps: list[Step] = []
            self.kept: dict[int, float] = {}  # rate -> what came of it, the last time

        def measure(self, intended_duration: float, intended_load: float) -> Any:
            step = measure(round(intended_load), intended_duration)
            self.steps.append(step)
            bad = min(step.sent, max(0, step.lost) + step.late)
            self.kept[step.rate] = step.offered * (1 - bad / step.sent)
            slow = 1 - step.offered / intended_load
            if slow > SLOWER:
                bad = max(bad, round(slow * step.sent))
            return MeasurementResult(
                intended_duration=intended_duration,
                intended_load=intended_load,
                offered_count=step.sent,
                loss_count=bad,
            )

    return Measurer()


def searched(draft: TrialRecord, workload: Ndr, make: Callable[[Pps], TrialRecord]) -> TrialRecord:
    """The draft filled with what a search came to; `make` gives the record of one of its trials,
    which is not stored. Valid if the trial at the rate without loss is."""
    made: list[TrialRecord] = []
    last: dict[int, TrialRecord] = {}  # rate -> the last trial at it

    def step(rate: int, seconds: float) -> Step:
        last[rate] = make(workload.step(rate, seconds))
        made.append(last[rate])
        return _step(rate, seconds, last[rate])

    try:
        full = make(workload.flood)
        most = _step(0, workload.last, full).offered
        limit = min(most, TWICE * full.metrics["pps"])
        if limit == most:  # to keep a rate takes a generator some of its own
            most = limit = step(round(most), workload.first).offered
        found = search(step, limit, workload.first, workload.last)
    except Unusable as error:
        return replace(draft, reasons=(str(error),))
    counts = Counter[str]()
    for record in (full, *made):
        counts.update({k: v for k, v in record.counters.items() if k.startswith(COUNTED)})
    best = last[round(found.bounds["ndr"].low)] if "ndr" in found.bounds else None
    reasons = best.reasons if best else (_in_vain(found),)
    return replace(
        draft,
        window_ns=sum(record.window_ns for record in (full, *made)),
        valid=not reasons,
        reasons=reasons,
        metrics={**found.rates, "pps_offered": most},
        counters=dict(counts),
        proofs=best.proofs if best else (),
        raw={"search": found.raw()},
    )


class Unusable(Exception):
    """A trial of a search did not come about."""


def _step(rate: int, seconds: float, record: TrialRecord) -> Step:
    if SENT not in record.counters:
        raise Unusable(f"at {rate or 'as many as can be'} a second: {'; '.join(record.reasons)}")
    sent, delivered = record.counters[SENT], record.counters[DELIVERED]
    took = sent / record.metrics["pps_offered"]
    return Step(
        rate=rate,
        seconds=seconds,
        sent=sent,
        lost=sent - delivered,
        late=max(0, round(delivered - record.metrics["pps"] * took)),
        ns=round(took * NS_PER_S),
    )


def _in_vain(found: Found) -> str:
    return f"frames are lost at {found.limit / LEAST:.0f} a second already"
