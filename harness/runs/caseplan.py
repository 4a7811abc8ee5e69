"""What a qualification would do and how long it would take, told without doing any of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.core.errors import ConfigError
from harness.core.units import Clock
from harness.hosts.local import LocalHost
from harness.labs.choice import Choice
from harness.labs.shape import LabShape
from harness.qualify.options import QualifyOptions
from harness.records.cases import FAMILIES, CaseRecord, ListedCase, load_cases, load_subjects
from harness.records.durations import NOTHING, Span, span_of
from harness.runs.claim import RESULTS
from harness.runs.foreseen import foreseen
from harness.runs.suite import python

ROUGH = Span(2.0, 8.0, 25.0)
"""Seconds of a case where nothing is known: 182 of them took 24 minutes in the nested lab on two
cores with other labs at work."""

COLLECTING_LIMIT = 120.0
"""Seconds for pytest to find the cases."""


class CasePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A qualification that would be made."""

    lab: str  # in words, and why that one
    host: str
    clock: Clock
    cases: tuple[ListedCase, ...]
    soak: int  # seconds, of the stress case
    workers: str  # side by side; "" for one
    takes: Span  # seconds, by one worker
    source: str  # of `takes`

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"lab        {self.lab}"
        yield f"clock      {self.clock}"
        for family in dict.fromkeys(each.family for each in self.cases):
            count = sum(each.family == family for each in self.cases)
            yield f"cases      {count:>3}  {FAMILIES[family]}"
        yield f"           {len(self.cases):>3}  in all; `nicproof qualify --list` tells them"
        yield f"soak       {self.soak} s"
        yield f"takes      {self.takes}{' by one worker' if self.workers else ''}"
        yield f"           {self.source}"


def plan_of(options: QualifyOptions, lab: Choice, shape: LabShape, workers: str) -> CasePlan:
    """What these options would do, at the pace of earlier qualifications of that host whose records
    are in the usual place. LabError if the cases cannot be collected."""
    rig = foreseen(lab, shape)
    chosen = cases_of(options.families)
    runs = tuple(earlier(Path(RESULTS), rig.host, rig.clock))
    return CasePlan(
        lab=lab.describe(),
        host=rig.host,
        clock=rig.clock,
        cases=chosen,
        soak=options.soak,
        workers=workers,
        takes=takes(chosen, runs),
        source=_source(runs),
    )


def cases_of(families: Sequence[str]) -> tuple[ListedCase, ...]:
    """Those of the suite, which pytest knows."""
    argv = (*python("fixtures.qualification.caselist"), "--json", *families)
    found = LocalHost().run(argv, timeout=COLLECTING_LIMIT)
    return msgspec.json.decode(found.stdout, type=tuple[ListedCase, ...])


def earlier(results: Path, host: str, clock: Clock) -> Iterator[tuple[CaseRecord, ...]]:
    """The cases of each qualification below a directory that was made on such a host."""
    for directory in sorted(results.glob("*")) if results.is_dir() else ():
        with suppress(ConfigError):  # a comparison, or damaged: no reason not to plan
            subjects = load_subjects(directory)
            if {(each.host, each.clock) for each in subjects} == {(host, clock)}:
                yield load_cases(directory)


def takes(chosen: Sequence[ListedCase], runs: Sequence[Sequence[CaseRecord]]) -> Span:
    """Seconds of these cases together. One that no earlier run had takes what is usual of all."""
    seen: dict[str, list[float]] = {}
    for case in (each for run in runs for each in run if each.verdict != "error"):
        seen.setdefault(case.id, []).append(case.seconds)
    if not seen:
        return ROUGH * len(chosen)
    usual = span_of([statistics.median(each) for each in seen.values()])
    return sum((span_of(seen[each.id]) if each.id in seen else usual for each in chosen), NOTHING)


def _source(runs: Sequence[Sequence[CaseRecord]]) -> str:
    if runs:
        return f"by {len(runs)} earlier run{'s' * (len(runs) != 1)} on such a host in {RESULTS}/"
    return (
        f"not known: {RESULTS}/ holds no qualification of such a host yet; {ROUGH.low:g} to "
        f"{ROUGH.high:g} s a case, as the nested lab took on two cores"
    )
