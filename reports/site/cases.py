"""What came of each case of a qualification, over all qualifications. Verdicts in, counts out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from harness.records.cases import Subject, Verdict
from harness.records.history.qualifications import CaseVerdict, QualificationEntry, nic_of

FLAKE_RATE = (
    "Flake rate: of all pairs of runs of a case that follow one another with the same NIC, host, "
    "driver, firmware, kernel, QEMU and version of nicproof, the share whose verdicts differ. Runs "
    "in which the case was skipped are passed over."
)

_NAMES = {"version": "driver's version", "firmware-version": "firmware"}
"""Of keys that say too little by themselves."""

Facts = tuple[tuple[str, str], ...]
"""What a verdict was found with: name, value."""


@dataclass(frozen=True)
class Seen:
    """A verdict of a case, and with what it was found."""

    qualification: QualificationEntry
    verdict: Verdict
    facts: Facts

    def differs_in(self, other: Seen) -> tuple[str, ...]:
        """What is not the same in both, as "kernel 6.1 -> 6.12"."""
        before, now = dict(other.facts), dict(self.facts)
        names = [name for name in now if before.get(name) != now[name]]
        return tuple(f"{name} {before.get(name, 'unknown')} -> {now[name]}" for name in names)


@dataclass(frozen=True)
class Case:
    """A case on one NIC of one host, over its runs; oldest first."""

    id: str
    nic: str
    host: str
    seen: tuple[Seen, ...]

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def count(self, verdict: Verdict) -> int:
        return sum(each.verdict == verdict for each in self.seen)

    @cached_property
    def told(self) -> tuple[Seen, ...]:
        """Its runs but for those in which it was skipped."""
        return tuple(each for each in self.seen if each.verdict != "skip")

    @cached_property
    def alike(self) -> tuple[tuple[Seen, Seen], ...]:
        """Runs that follow one another with the same of everything that is known."""
        by_facts: dict[Facts, list[Seen]] = defaultdict(list)
        for each in self.told:
            by_facts[each.facts].append(each)
        return tuple(pair for runs in by_facts.values() for pair in pairwise(runs))

    @property
    def flakes(self) -> int:
        return sum(before.verdict != after.verdict for before, after in self.alike)

    @property
    def flake_rate(self) -> float | None:
        """From 0 to 1; None if no two runs are alike. FLAKE_RATE says what it is."""
        return self.flakes / len(self.alike) if self.alike else None

    @property
    def changes(self) -> Iterator[tuple[Seen, Seen]]:
        """Runs that follow one another and whose verdicts differ, whatever else does."""
        return (pair for pair in pairwise(self.told) if pair[0].verdict != pair[1].verdict)


def cases(
    entries: Sequence[QualificationEntry],
    subjects: Mapping[str, Subject],
    verdicts: Sequence[CaseVerdict],
    told_apart: Mapping[str, Sequence[str]],
) -> tuple[Case, ...]:
    """Each case on each NIC and host. `told_apart`: section of a subject to the keys in it that
    make a set-up another one."""
    qualifications = {entry.digest: entry for entry in entries}
    places = {digest: dict(_places(subjects[digest], told_apart)) for digest in qualifications}
    found: dict[tuple[str, str, str], list[Seen]] = defaultdict(list)
    for each in verdicts:
        if each.digest not in qualifications:  # it came while we read
            continue
        of = places[each.digest]
        nic, host, facts = of.get(each.host) or next(iter(of.values()))
        seen = Seen(qualifications[each.digest], each.verdict, facts)
        found[each.id, nic, host].append(seen)
    return tuple(Case(*key, tuple(sorted(seen, key=_when))) for key, seen in sorted(found.items()))


def _when(seen: Seen) -> tuple[str, str]:
    return seen.qualification.created, seen.qualification.digest


def _places(
    subject: Subject, told_apart: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, tuple[str, str, Facts]]]:
    """Host -> NIC, host and facts, of a qualification that may have been made on several."""
    for each in (subject, *subject.others):
        facts = [("nicproof", each.version)]
        for section, keys in told_apart.items():
            known = each.sections.get(section, {})
            facts += [(_NAMES.get(key, key), known.get(key, "unknown")) for key in keys]
        yield each.host, (nic_of(each), each.host, tuple(facts))
