"""Runs in short: a run's figures, one number for all of its boots, and what makes it comparable.

A look at a thousand runs need not read a million trials. A summary is made when a run is added; one
that is not there, or was made by other rules, is made when it is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from harness.core.errors import HarnessError
from harness.core.units import Clock
from harness.records.alike import kind
from harness.records.boots import boots_of
from harness.records.history.base import Part, encode
from harness.records.history.schema import FIGURE, SUMMARY
from harness.records.run import Run

if TYPE_CHECKING:
    from harness.records.history.runs import History, RunEntry

T = TypeVar("T")

VERSION = 1
"""Of what is made of a run. Whoever changes a figure's formula, or what makes runs alike, raises it
(a self-test holds the summary of a stored run); all summaries are then made anew."""


class Figure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A metric of a path and workload: the median over boots, and their range."""

    path: str
    workload: str
    value: float
    low: float
    high: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in short."""

    run: str
    created: str  # UTC, ISO 8601
    finished: bool
    clock: Clock
    pair: bool  # of two configurations, so of no series
    paths: dict[str, str]  # to their colours
    kinds: dict[str, dict[str, str]]  # workload -> harness.records.alike.kind
    figures: dict[str, tuple[Figure, ...]] = {}  # by metric; in the database, a row each

    @classmethod
    def of(cls, run: Run) -> Summary:
        """Made of a run and its trials."""
        figures: dict[str, list[Figure]] = {}
        for (path, workload, metric), boots in boots_of(run).items():
            values = boots.values()
            figure = Figure(path, workload, median(values), min(values), max(values))
            figures.setdefault(metric, []).append(figure)
        info = run.info
        return cls(
            run=info.run,
            created=info.created,
            finished=info.finished,
            clock=info.clock,
            pair=bool(info.variants),
            paths={path: run.path_facts(path).colour for path in run.paths},
            kinds={workload: kind(run, workload) for workload in run.workloads},
            figures={metric: tuple(each) for metric, each in figures.items()},
        )


def insert(db: sa.Connection, digest: str, summary: Summary) -> None:
    """Put a summary where there is none, within the caller's transaction."""
    body = encode(replace(summary, figures={}))
    db.execute(sa.insert(SUMMARY), {"digest": digest, "version": VERSION, "body": body})
    rows = [
        {"digest": digest, "metric": metric, "body": encode(figures)}
        for metric, figures in summary.figures.items()
    ]
    if rows:
        db.execute(sa.insert(FIGURE), rows)


_SUMMARY = msgspec.json.Decoder(Summary)
_FIGURES = msgspec.json.Decoder(tuple[Figure, ...])


class Summaries(Part):
    """The summaries of an open history."""

    def load(
        self,
        history: History,
        entries: Sequence[RunEntry],
        metrics: Collection[str],
        told: Callable[[int, int], None] | None = None,
    ) -> Iterator[Summary]:
        """The summaries of runs in their order, with the figures of these metrics. `told` hears how
        many of the missing ones are made, and how many are missing.

        What cannot be kept, as the history may only be read, is made all the same. Raises what
        `History.load` does for a run that has no summary yet.
        """
        there = self._there()
        figures = {metric: self._figures(metric) for metric in metrics}
        damaged = {digest for found in figures.values() for digest in found if not found[digest]}
        good = there.keys() - damaged
        missing, made, keep = sum(entry.digest not in good for entry in entries), 0, True
        for entry in entries:
            if entry.digest in good:
                of = {metric: found.get(entry.digest) or () for metric, found in figures.items()}
                yield replace(there[entry.digest], figures=of)
                continue
            summary = Summary.of(Run(*history.load(entry)))
            keep = keep and self._kept(entry.digest, summary)
            made += 1
            if told is not None:
                told(made, missing)
            yield replace(summary, figures={m: summary.figures.get(m, ()) for m in metrics})

    def _there(self) -> dict[str, Summary]:
        with self._reading() as db:
            current = SUMMARY.c.version == VERSION
            rows = db.execute(sa.select(SUMMARY.c.digest, SUMMARY.c.body).where(current)).all()
        found = {digest: _decoded(body, _SUMMARY) for digest, body in rows}
        return {digest: summary for digest, summary in found.items() if summary is not None}

    def _figures(self, metric: str) -> Mapping[str, tuple[Figure, ...]]:
        """Of all runs; none for a row that is damaged, as runs without the metric have no row."""
        with self._reading() as db:
            query = sa.select(FIGURE.c.digest, FIGURE.c.body).where(FIGURE.c.metric == metric)
            rows = db.execute(query).all()
        return {digest: _decoded(body, _FIGURES) or () for digest, body in rows}

    def _kept(self, digest: str, summary: Summary) -> bool:
        """Whether it could be, in the place of one that was made by other rules."""
        try:
            with self._transaction() as db:
                for table in (FIGURE, SUMMARY):
                    db.execute(sa.delete(table).where(table.c.digest == digest))
                insert(db, digest, summary)
        except sa.exc.IntegrityError:  # another process was at it, too
            return True
        except HarnessError:
            return False
        return True


def _decoded(body: object, decoder: msgspec.json.Decoder[T]) -> T | None:
    """None for what cannot be read: it is as good as none, for it can be made anew."""
    try:
        return decoder.decode(body)  # type: ignore[arg-type]
    except (msgspec.MsgspecError, TypeError, ValueError):
        return None
