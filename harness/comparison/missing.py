"""What was asked of a side and did not come: its trials by how they ended, and why a figure is
not there."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.records.run import Run
from harness.records.trial import IDLE, Failure, RunInfo

TOO_MANY = 1 - 1 / math.sqrt(2)
"""A side that lost a larger share of its trials than the other, 29 %, may lie anywhere: it is the
breakdown point of the Hodges-Lehmann estimate (Hodges 1967), and what is lost may be lost because
it was slow."""

_LONGEST = 160
"""Characters of an error that are told; the run's own report has the rest."""

PathWorkload = tuple[str, str]  # path, workload


@dataclass(frozen=True)
class Tally:
    """The trials of one path and workload on one side, warm-ups apart."""

    valid: int = 0
    invalid: int = 0
    failed: int = 0  # never made: their boot failed

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.valid + other.valid, self.invalid + other.invalid, self.failed + other.failed
        )

    def __str__(self) -> str:
        return f"{self.valid} valid, {self.invalid} invalid, {self.failed} failed"

    @property
    def total(self) -> int:
        return self.valid + self.invalid + self.failed

    @property
    def share(self) -> float:
        """Of the trials, those that are valid: 0 to 1; 1 where none was due."""
        return self.valid / self.total if self.total else 1.0


@dataclass(frozen=True)
class Side:
    """How one side of a comparison was measured: a run, half of one, or a series of runs."""

    label: str  # "base" or "new", as the tables say
    info: RunInfo  # of the newest run
    tallies: Mapping[PathWorkload, Tally]
    reasons: Mapping[PathWorkload, str]  # the first why a trial is not valid, or was not made
    runs: int = 1

    @classmethod
    def of(cls, label: str, runs: Sequence[Run], variant: str = "") -> Side:
        """From runs, the newest first; of one that interleaved two configurations, `variant`."""
        tallies: dict[PathWorkload, Tally] = {}
        for run in runs:
            for place, tally in _tallied(run, variant):
                tallies[place] = tallies.get(place, Tally()) + tally
        reasons = dict(_reasons(runs[0], variant))
        return cls(label, runs[0].info, tallies, reasons, len(runs))

    def tally(self, path: str, workload: str) -> Tally:
        return self.tallies.get((path, workload), Tally())

    def all_of(self, path: str = "") -> Tally:
        """Of all workloads together: of one path, or of all."""
        return sum((each for key, each in self.tallies.items() if path in (key[0], "")), Tally())

    def asked(self, path: str, workload: str) -> bool:
        """Was this side asked for it?"""
        return path in self.info.paths and workload in self.info.workloads

    def impossible(self, path: str) -> bool:
        """Has its host not what the path takes?"""
        return any(each.path == path for each in self.info.missing)

    def reason(self, path: str, workload: str = "") -> str:
        """Why it has no figure there, or nothing of a path: what happened, then a colon and what
        is known of it."""
        if path not in self.info.paths:
            return f"{self.label} was not asked for {path}"
        if workload and workload not in self.info.workloads:
            return f"{self.label} was not asked for {workload}"
        tally = self.tally(path, workload)
        if tally.valid:
            return f"{self.label} has it in none of its {_count(tally.valid, 'valid trial')}"
        if tally.total:
            return f"{self.label} has {_none_valid(tally)}{self._because(path, workload)}"
        for each in self.info.missing:
            if each.path == path:
                return f"{self.label} cannot have this path: {each.capability}: {each.why}"
        if not self.info.finished:
            return f"{self.label} was interrupted before"
        return f"{self.label} has no trial of it"

    def _because(self, path: str, workload: str) -> str:
        reason = self.reasons.get((path, workload), "")
        return f": {reason}" if reason else ""


def _none_valid(tally: Tally) -> str:
    """Of trials of which none is valid."""
    ended = [
        f"{count} {word}"
        for count, word in ((tally.invalid, "invalid"), (tally.failed, "failed"))
        if count
    ]
    return f"no valid trial of {tally.total} ({', '.join(ended)})"


def _tallied(run: Run, variant: str) -> Iterator[tuple[PathWorkload, Tally]]:
    """Of each path and workload that was asked for or has trials."""
    made: dict[PathWorkload, Counter[int]] = defaultdict(Counter)
    valid: Counter[PathWorkload] = Counter()
    for each in run.trials:
        if each.variant == variant and not each.warmup:
            made[each.path, each.workload][each.boot] += 1
            valid[each.path, each.workload] += each.valid
    for path in run.paths:
        due = _due(run, path, variant)
        for workload in run.workloads:
            here, good = made[path, workload], valid[path, workload]
            if workload != IDLE and (due or here):
                lost = len(due - here.keys()) * max(here.values(), default=1)
                yield (path, workload), Tally(good, here.total() - good, lost)


def _due(run: Run, path: str, variant: str) -> set[int]:
    """The boots of a path that ought to have given all of their trials: of a run that came to its
    end all, but of two configurations, which stop when they have seen enough, those up to the last
    that left a trace; of an interrupted run, those before it was."""
    info = run.info
    trials = [each for each in run.trials if each.path == path]
    failures = [each for each in info.failures if each.path == path]
    traces = [(each.boot, each.variant) for each in trials]
    traces += [(each.boot, each.variant) for each in failures]
    seen = {boot for boot, _ in traces}
    own = {boot for boot, which in traces if which in ("", variant)}
    if info.finished:
        asked = path in info.paths and not info.variants
        possible = seen or all(each.path != path for each in info.missing)
        return seen | set(range(info.boots if asked and possible else max(seen, default=-1) + 1))
    last = max((each.boot for each in run.trials), default=0)
    due = {boot for boot in range(max(seen, default=-1) + 1) if boot < last or boot in own}
    now = run.trials[-1:]
    return due - {each.boot for each in now if (each.path, each.variant) == (path, variant)}


def _reasons(run: Run, variant: str) -> Iterator[tuple[PathWorkload, str]]:
    """Reasons of each path and workload; the last of them is the one to tell."""
    for path, error in _errors(run.info.failures, variant).items():
        for workload in run.workloads:
            yield (path, workload), _short(error)
    for each in reversed(run.trials):
        if each.variant == variant and not each.valid and each.reasons:
            yield (each.path, each.workload), _short(each.reasons[0])


def _errors(failures: Iterable[Failure], variant: str) -> dict[str, str]:
    """The first error of each path."""
    found: dict[str, str] = {}
    for each in failures:
        if each.variant in ("", variant):
            found.setdefault(each.path, each.error)
    return found


def _short(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def fallen(base: Side, new: Side) -> Iterator[tuple[str, Tally, Tally]]:
    """Paths of which a smaller share of new's trials is valid than of base's: path, base, new. One
    of which either side has nothing is told otherwise."""
    for path in dict.fromkeys(path for path, _ in (*base.tallies, *new.tallies)):
        before, now = base.all_of(path), new.all_of(path)
        if before.valid and now.valid and now.share < before.share:
            yield path, before, now


def warnings(base: Side, new: Side) -> Iterator[str]:
    """What a reader has to know of the trials before he trusts a verdict, a sentence each."""
    for side in (base, new) if base.info is not new.info else (new,):
        which = f"{side.label} ({side.info.run})"
        if side.info.uncounted:
            yield f"{which} could not count exits: {side.info.uncounted}"
        if not side.info.finished:
            yield f"{which} was interrupted, or is still going: it rests on the trials made so far"
    sides = [(new, base)]
    if base.runs == 1:  # of a series, some trials always are invalid
        sides.append((base, new))
    for side, other in sides:
        for path, most, fewer in fallen(other, side):
            yield (
                f"{path}: {fewer.valid} of {side.label}'s {fewer.total} trials are valid, "
                f"{most.valid} of {other.label}'s {most.total}; what is missing may be missing "
                "because it was slow"
            )


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
