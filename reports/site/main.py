"""`python -m reports.site DIR`: the history as pages that link to one another, and a feed."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path

from harness.core.flags import names
from harness.core.metrics import PRIMARY
from harness.records.history.qualifications import QualificationEntry, Qualifications
from harness.records.history.runs import History, open_history
from reports.certificate.document import TOLD_APART, issue
from reports.history.main import checked_metric
from reports.site import collect, directory, news
from reports.site.cases import cases
from reports.site.pages import Certified, Site, counted
from reports.site.places import Reports


def main(argv: list[str] | None = None) -> None:
    """Where the site is, and what is in it, on stdout. Raises HarnessError."""
    parser = argparse.ArgumentParser(prog="python -m reports.site")
    parser.add_argument("directory", type=Path, metavar="DIR")
    for flag in ("--history", "--name", "--metrics", "--url"):
        parser.add_argument(flag)
    parser.add_argument("--last", type=int, required=True)
    given = parser.parse_args(argv)
    metrics = PRIMARY if given.metrics is None else tuple(map(checked_metric, names(given.metrics)))
    url = f"{given.url.rstrip('/')}/" if given.url else ""
    directory.require(given.directory)
    gc.disable()  # a million objects of which none goes before the end: a fifth of the time
    with open_history(given.history) as history:
        site = gather(history, given.directory, metrics, given.name, given.last, url)
    directory.write(given.directory, site.pages)
    runs = sum(len(group.entries) for group in site.groups)
    told = (
        counted(runs, "run"),
        counted(len(site.series), "figure"),
        counted(sum(each.count for each in site.certified), "qualification"),
        f"{len(site.news)} pieces of news",
    )
    print(f"site: {given.directory / 'index.html'} ({', '.join(told)})", flush=True)


def gather(
    history: History,
    out: Path,
    metrics: Sequence[str],
    name: str | None,
    last: int,
    url: str = "",
) -> Site:
    """All that the pages in `out` show. Raises what `Summaries.load` does."""
    groups = collect.groups(history, name, metrics, last)
    series = [each for group in groups for each in collect.series(group, metrics)]
    qualified = history.qualifications
    entries = qualified.entries()
    tested = cases(entries, qualified.subjects(), qualified.verdicts(), TOLD_APART)
    certified, titles = _certified(qualified, entries)
    found = news.news(history.id, series, tested)
    made = (*(each.created for group in groups for each in group.entries),
            *(each.created for each in entries))  # fmt: skip
    return Site(
        mark=history.id,
        groups=groups,
        series=series,
        cases=tested,
        titles=titles,
        certified=certified,
        news=found,
        upto=news.moment(max(made, default="")),
        reports=Reports(history.places(), out.absolute()),
        url=url,
    )


def _certified(
    qualified: Qualifications, entries: Sequence[QualificationEntry]
) -> tuple[list[Certified], dict[str, str]]:
    """The last qualification of each NIC and host; and the titles of all their cases."""
    last: dict[tuple[str, str], list[QualificationEntry]] = {}
    for entry in entries:
        last.setdefault((entry.nic, entry.host), []).append(entry)
    found: list[Certified] = []
    titles: dict[str, str] = {}
    for _, of in sorted(last.items()):
        subject, each = qualified.load(of[0])
        found.append(Certified(of[0], issue(subject, each), len(of)))
        titles |= {case.id: case.title for case in each}
    return found, titles
