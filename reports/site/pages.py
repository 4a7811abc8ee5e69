"""The pages of a site, each made when it is written: a large history has a thousand of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness import __version__
from harness.core.metrics import metric_of
from harness.core.units import Fidelity
from harness.records.cases import CERTIFICATE, FAMILIES, VERDICTS, Certificate, family_of
from harness.records.history.qualifications import QualificationEntry
from harness.records.history.runs import RunEntry
from reports.history import trend
from reports.run import style
from reports.run.page import HTML, SCOPES
from reports.site import draw
from reports.site.cases import FLAKE_RATE, Case
from reports.site.collect import Change, Group, Series
from reports.site.draw import Told
from reports.site.news import News
from reports.site.places import Report, Reports

NEWEST = 50
"""Runs that a page of a series lists; its group's page has all."""

STRIP = 12
"""The newest verdicts that the row of a case shows, if they differ."""

Pages = Mapping[str, Callable[[], str]]


@dataclass(frozen=True)
class Certified:
    """The last qualification of a NIC on a host."""

    entry: QualificationEntry
    certificate: Certificate
    count: int  # of qualifications

    @property
    def kind(self) -> str:
        return {"fit": "pass", "not fit": "fail"}.get(self.certificate.verdict, "")

    @property
    def verdict(self) -> str:
        emulated = ", as emulated" if self.certificate.subject.emulated else ""
        return f"{self.certificate.verdict}{emulated}"


@dataclass(frozen=True)
class Site:
    """All that the pages show."""

    mark: str  # the history's own UUID
    groups: Sequence[Group]
    series: Sequence[Series]
    cases: Sequence[Case]
    titles: Mapping[str, str]  # of cases
    certified: Sequence[Certified]
    news: Sequence[News]
    upto: str  # when the newest run was made
    reports: Reports
    url: str  # where it is served, with a slash at its end; "" if that is not known
    _known: dict[str, list[Told]] = field(default_factory=dict)

    @property
    def pages(self) -> Pages:
        """By name, in no order."""
        return {
            "index.html": self._index,
            "cases.html": self._cases,
            "feed.atom": self._feed,
            "site.css": partial(_render, "site-style.css.j2"),
            **{f"series/{each.slug}.html": partial(self._series, each) for each in self.series},
            **{f"runs/{each.slug}.html": partial(self._runs, each) for each in self.groups},
        }

    def _page(self, template: str, up: str = "", live: bool = False, **content: Any) -> str:
        return _render(template, up=up, live=live, upto=self.upto[:10], **content)

    def _index(self) -> str:
        hosts = {(group.nic, group.host) for group in self.groups}
        runs = sum(len(group.entries) for group in self.groups)
        older = sum(group.older for group in self.groups)
        return self._page(
            "site-index.html.j2",
            live=True,
            headline=f"{counted(len(self.series), 'figure')} of {counted(len(hosts), 'NIC')}, "
            f"{counted(runs, 'run')}",
            news=self.news,
            rows=list(map(_row, self.series)),
            spark_runs=draw.SPARK_RUNS,
            older=f" {counted(older, 'older run')} left out." if older else "",
        )

    def _series(self, series: Series) -> str:
        panel, unit = series.panel, style.unit(series.panel.unit)
        better = {"lower": "Less is better.", "higher": "More is better.", "none": ""}
        last = f"{style.number(series.last.value)} {unit} on {series.last.created[:10]}"
        changed = series.changes[-1] if series.changes else None
        state = (
            f"the level changed by {changed.step} with {changed.entry.run}, "
            f"on {changed.entry.created[:10]}"
            if changed
            else series.state
        )
        scope = f" ({SCOPES[series.grounds]})" if SCOPES[series.grounds] else ""
        shown = panel.points[: -NEWEST - 1 : -1]
        return self._page(
            "site-series.html.j2",
            up="../",
            series=series,
            lead=f"{last}{scope}; {state}.",
            chart=draw.chart(series, self._told(series.group)),
            better=better[metric_of(series.metric).better],
            unit=unit,
            levels=list(_levels(series))[::-1],
            heading=f"The newest {len(shown)} of {len(panel.points)} runs"
            if len(shown) < len(panel.points)
            else "Runs",
            runs=[
                {
                    **self._run(series.entry(point)),
                    "value": style.number(point.value),
                    "spread": f"{style.number(point.low)} to {style.number(point.high)}",
                }
                for point in shown
            ],
            left_out=list(trend.left_out([panel])),
        )

    def _runs(self, group: Group) -> str:
        changes = [c for each in self.series if each.group is group for c in each.changes]
        older = f"; {counted(group.older, 'older run')} left out" if group.older else ""
        return self._page(
            "site-runs.html.j2",
            up="../",
            live=True,
            group=group,
            lead=f"{counted(len(group.entries), 'run')}, the newest first{older}.",
            changes=sorted(changes, key=lambda each: each.entry.created, reverse=True),
            runs=[self._run(entry) for entry in reversed(group.entries)],
        )

    def _run(self, entry: RunEntry) -> dict[str, Any]:
        """For a page one directory down."""
        return {"entry": entry, "report": self._report(entry), "address": self._address(entry)}

    def _report(self, entry: RunEntry) -> Report:
        return self.reports.of(entry.digest, entry.run, HTML)

    def _address(self, entry: RunEntry) -> str:
        return self._report(entry).seen_from("../")

    def _told(self, group: Group) -> list[Told]:
        """Of its runs, in their order; each of its series asks for them."""
        if group.slug not in self._known:
            entries = group.entries
            self._known[group.slug] = [Told.of(each, self._address(each)) for each in entries]
        return self._known[group.slug]

    def _certificate(self, entry: QualificationEntry) -> Report:
        return self.reports.of(entry.digest, entry.run, f"{CERTIFICATE}.html")

    def _cases(self) -> str:
        flaky = sum(bool(case.flakes) for case in self.cases)
        failing = sum(case.last.verdict in ("fail", "error") for case in self.cases)
        return self._page(
            "site-cases.html.j2",
            live=bool(self.cases),
            headline=f"{counted(len(self.cases), 'case')} by NIC and host: {failing} failed or in "
            f"error when last run, {flaky} flaky",
            flake_rate=FLAKE_RATE,
            verdicts=VERDICTS,
            certificates=[
                {"of": each, "report": self._certificate(each.entry)} for each in self.certified
            ],
            rows=list(map(self._case, self.cases)),
        )

    def _case(self, case: Case) -> dict[str, Any]:
        counts = Counter(each.verdict for each in case.seen)
        rate = case.flake_rate
        return {
            "case": case,
            "title": self.titles.get(case.id, case.id),
            "family": FAMILIES.get(family_of(case.id), family_of(case.id)),
            "strip": [each.verdict for each in case.seen[-STRIP:]] if len(counts) > 1 else [],
            "rate": "" if rate is None else rate,
            "flakes": "-" if rate is None else f"{case.flakes} of {len(case.alike)}",
            "counts": [counts[verdict] for verdict in VERDICTS],
            "report": self._certificate(case.last.qualification),
        }

    def _feed(self) -> str:
        updated = max((each.when for each in self.news), default=self.upto)
        content = {"mark": self.mark, "updated": updated, "url": self.url, "news": self.news}
        return _render("site-feed.atom.j2", **content)


_REAL = "for silicon too: KVM, guest and drivers are the real ones"

_SILICON: dict[Fidelity, str] = {
    "hardware": "measured on hardware",
    "nested-kvm": _REAL,
    "nested-tcg": _REAL,
}
"""What a figure is evidence for, where it is evidence for silicon."""


def _row(series: Series) -> dict[str, Any]:
    """Of the overview."""
    change: Change | None = series.changes[-1] if series.changes else None
    values = [point.value for point in series.panel.points if point.finished][-draw.SPARK_RUNS :]
    middle = sum(values) / len(values) if values else 0
    return {
        "series": series,
        "spark": draw.spark(series),
        "spread": (max(values) - min(values)) / middle if middle else "",
        "scope": SCOPES[series.grounds] or _SILICON[series.fidelity],
        "last": f"{style.number(series.last.value)} {style.unit(series.panel.unit)}",
        "change": change,
        "ratio": change.after.value / change.before.value - 1
        if change and change.before.value
        else "",
    }


def _levels(series: Series) -> Iterator[dict[str, Any]]:
    changes = {change.after.first: change for change in series.changes}
    for level in series.panel.levels:
        points = series.panel.points[level.first : level.last + 1]
        yield {
            "entry": series.entry(points[0]),
            "runs": sum(point.finished for point in points),
            "value": style.number(level.value),
            "change": changes.get(level.first),
        }


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _render(template: str, **content: Any) -> str:
    return _ENVIRONMENT.get_template(template).render(**content)


_ENVIRONMENT = Environment(
    loader=PackageLoader("reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.globals["version"] = __version__
