"""What changed, the newest first: levels of figures, and verdicts of cases."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.core.plain import plain
from reports.run import style
from reports.site.cases import Case, Seen
from reports.site.collect import Change, Series

MOST = 100
"""Entries of a feed: readers keep what they have seen."""


@dataclass(frozen=True)
class News:
    """Changes that came with one run."""

    id: str  # a URN, the same whenever the site is made
    title: str
    when: str  # RFC 3339
    page: str  # of the site
    lines: tuple[str, ...]


def news(mark: str, series: Iterable[Series], cases: Iterable[Case]) -> tuple[News, ...]:
    """The newest of all changes; `mark` is the history's own UUID."""
    found = (*_levels(mark, series), *_verdicts(mark, cases))
    return tuple(sorted(found, key=lambda each: (each.when, each.id), reverse=True)[:MOST])


def _levels(mark: str, series: Iterable[Series]) -> Iterator[News]:
    """A run with which several figures change is one piece of news."""
    found: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for each in series:
        for change in each.changes:
            found[each.group.slug, change.entry.digest].append(change)
    for (slug, digest), changes in found.items():
        group, entry = changes[0].series.group, changes[0].entry
        worse = sum(change.judged == "worse" for change in changes)
        told = f"{len(changes)} figure{'' if len(changes) == 1 else 's'} changed"
        judged = f", {worse} for the worse" if worse else ""
        yield News(
            id=_urn(mark, "levels", slug, digest),
            title=plain(f"{group.title}: {told}{judged}, with {entry.run}"),
            when=moment(entry.created),
            page=f"series/{changes[0].series.slug}.html"
            if len(changes) == 1
            else f"runs/{slug}.html",
            lines=tuple(plain(_level(change)) for change in changes),
        )


def _level(change: Change) -> str:
    panel = change.series.panel
    before, after = style.number(change.before.value), style.number(change.after.value)
    what = f"{panel.path}, {panel.workload}: {change.series.label}"
    values = f"{before} to {after} {style.unit(panel.unit)}"
    judged = f" ({change.judged})" if change.judged else ""
    return f"{what} {change.step}{judged}: {values}"


def _verdicts(mark: str, cases: Iterable[Case]) -> Iterator[News]:
    """A qualification in which several cases changed is one piece of news."""
    found: dict[tuple[str, str, str], list[tuple[Case, Seen, Seen]]] = defaultdict(list)
    for case in cases:
        for before, after in case.changes:
            key = case.nic, case.host, after.qualification.digest
            found[key].append((case, before, after))
    for (nic, host, digest), changes in found.items():
        entry = changes[0][2].qualification
        worse = sum(after.verdict in ("fail", "error") for _, _, after in changes)
        told = f"{len(changes)} verdict{'' if len(changes) == 1 else 's'} changed"
        judged = f", {worse} to fail or error" if worse else ""
        yield News(
            id=_urn(mark, "verdicts", nic, host, digest),
            title=plain(f"{nic} on {host}: {told}{judged}, in qualification {entry.run}"),
            when=moment(entry.created),
            page="cases.html",
            lines=tuple(plain(_verdict(*change)) for change in changes),
        )


def _verdict(case: Case, before: Seen, after: Seen) -> str:
    other = after.differs_in(before)
    since = f"; since then: {', '.join(other)}" if other else "; nothing else is known to differ"
    return f"{case.id}: {before.verdict} to {after.verdict}{since}"


def _urn(mark: str, *parts: str) -> str:
    return uuid.uuid5(uuid.UUID(mark), "\0".join(parts)).urn


def moment(text: str) -> str:
    """A record's time as RFC 3339 has it, in UTC; what is no time is the beginning of the epoch."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return "1970-01-01T00:00:00+00:00"
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
