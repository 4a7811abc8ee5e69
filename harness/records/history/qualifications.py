"""The qualifications in a history: a row a qualification, a row a case's verdict.

As with runs, the key is a digest of the content, so that one that is added twice is there once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from harness.core.errors import ConfigError
from harness.core.plain import plain_record
from harness.records.cases import CaseRecord, Subject, Verdict
from harness.records.history.base import BEGINNING, DIGITS, Part, digest, encode
from harness.records.history.db import DAMAGED
from harness.records.history.schema import QUALIFICATION, VERDICT


@dataclass(frozen=True)
class QualificationEntry:
    """A qualification in a history, without its cases."""

    digest: str  # sha256 of its content
    run: str  # its id
    created: str  # UTC, ISO 8601
    fidelity: str
    clock: str
    host: str
    nic: str  # model and BDF, as of a run
    version: str  # nicproof's
    selection: str  # how cases were chosen, as options; "" for the whole suite
    passes: int
    failures: int
    errors: int
    skips: int
    deviations: int
    finished: bool  # False: interrupted; what is there is still good
    imported: str  # UTC, ISO 8601

    @property
    def cases(self) -> int:
        return sum(getattr(self, count) for count in COUNTS)


_NAMES = tuple(each.name for each in fields(QualificationEntry))

COUNTS: dict[str, Verdict] = {
    "passes": "pass",
    "failures": "fail",
    "errors": "error",
    "skips": "skip",
    "deviations": "deviation",
}
"""Of an entry: its field to the verdict that it counts."""


class CaseVerdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one case of one qualification came to."""

    digest: str  # of the qualification
    id: str
    verdict: Verdict
    host: str  # where it was run; "" if it did not get that far


class Qualifications(Part):
    """The qualifications of an open history."""

    def add(
        self, subject: Subject, cases: Sequence[CaseRecord], directory: Path | None = None
    ) -> QualificationEntry:
        """Keep a qualification, and where its directory is; on return it survives a crash. One that
        is there already stays as it is, but for its directory.

        ConfigError if no case of it ended; StoreFailed if the disk or the server refuses: then
        nothing of it is kept.
        """
        if not cases:
            raise ConfigError(f"{subject.run}: no case of it ended: nothing to keep")
        entry = _entry(subject, cases)
        row = {name: getattr(entry, name) for name in _NAMES}
        verdicts = [
            {"digest": entry.digest, "index": index, "id": case.id, "verdict": case.verdict}
            | {"host": case.host, "body": encode(case)}
            for index, case in enumerate(cases)
        ]

        def store(db: sa.Connection) -> None:
            db.execute(sa.insert(QUALIFICATION), row | {"subject": encode(subject)})
            db.execute(sa.insert(VERDICT), verdicts)

        return self._keep(entry, store, self.known, directory)

    def known(self, digest: str) -> QualificationEntry | None:
        """The qualification of this digest, if it is there."""
        found = self._select(QUALIFICATION.c.digest == digest)
        return found[0] if found else None

    def entries(self) -> tuple[QualificationEntry, ...]:
        """All qualifications, the newest first."""
        return self._select(sa.true())

    def matching(self, what: str) -> tuple[QualificationEntry, ...]:
        """Those of that id, or whose digest begins so (6 digits at least)."""
        named = QUALIFICATION.c.run == what
        begins = QUALIFICATION.c.digest.startswith(what, autoescape=True)
        return self._select(sa.or_(named, begins) if BEGINNING.fullmatch(what) else named)

    def load(self, entry: QualificationEntry) -> tuple[Subject, tuple[CaseRecord, ...]]:
        """A qualification with its cases, in their order. ConfigError if it is not there any more,
        or is damaged."""
        with self._reading() as db:
            of = QUALIFICATION.c.digest == entry.digest
            subject = db.scalar(sa.select(QUALIFICATION.c.subject).where(of))
            rows = db.execute(
                sa.select(VERDICT.c.body)
                .where(VERDICT.c.digest == entry.digest)
                .order_by(VERDICT.c["index"])
            ).all()
        if subject is None:
            raise ConfigError(f"{entry.run}: not in {self.where} any more")
        with self._damage(entry.run, entry.digest):
            cases = tuple(plain_record(body, CaseRecord) for (body,) in rows)
            if len(cases) != entry.cases:
                raise ValueError(f"{len(cases)} of its {entry.cases} cases")
            return plain_record(subject, Subject), cases

    def subjects(self) -> dict[str, Subject]:
        """What was qualified, by digest. ConfigError if one is damaged."""
        query = sa.select(QUALIFICATION.c.digest, QUALIFICATION.c.run, QUALIFICATION.c.subject)
        with self._reading() as db:
            rows = db.execute(query).all()
        found = {}
        for key, run, subject in rows:
            with self._damage(run, key):
                found[key] = plain_record(subject, Subject)
        return found

    def verdicts(self) -> list[CaseVerdict]:
        """Every verdict of all qualifications, in no order. ConfigError if one is damaged."""
        query = sa.select(VERDICT.c.digest, VERDICT.c.id, VERDICT.c.verdict, VERDICT.c.host)
        with self._reading() as db:
            rows = [tuple(row) for row in db.execute(query)]
        try:
            return msgspec.convert(rows, list[CaseVerdict])
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{self.where}: its verdicts are damaged: {error}", remedy=DAMAGED
            ) from error

    def _select(self, condition: sa.ColumnElement[bool]) -> tuple[QualificationEntry, ...]:
        columns = (QUALIFICATION.c[each.name] for each in fields(QualificationEntry))
        newest = (
            QUALIFICATION.c.created.desc(),
            QUALIFICATION.c.run.desc(),
            QUALIFICATION.c.digest,
        )
        with self._reading() as db:
            rows = db.execute(sa.select(*columns).where(condition).order_by(*newest)).all()
        return tuple(map(self._entry_of, rows))

    def _entry_of(self, row: sa.Row[Any]) -> QualificationEntry:
        with self._damage(row.run, row.digest):
            return msgspec.convert(dict(zip(_NAMES, row, strict=True)), QualificationEntry)

    @contextmanager
    def _damage(self, run: str, key: str) -> Iterator[None]:
        """ConfigError for what cannot be read of a qualification."""
        try:
            yield
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{self.where}: {run}: it is damaged: {error}",
                remedy=f"nicproof history forget {str(key)[:DIGITS]}, and import its directory "
                "again, if there is one",
            ) from error


def digest_of(subject: Subject, cases: Sequence[CaseRecord]) -> str:
    """The digest of what a qualification says."""
    return digest(subject=subject, cases=tuple(cases))


def _entry(subject: Subject, cases: Sequence[CaseRecord]) -> QualificationEntry:
    counts = Counter(case.verdict for case in cases)
    return QualificationEntry(
        digest=digest_of(subject, cases),
        run=subject.run,
        created=subject.created,
        fidelity=subject.fidelity,
        clock=subject.clock,
        host=subject.host,
        nic=nic_of(subject),
        version=subject.version,
        selection=subject.selection,
        **{name: counts[verdict] for name, verdict in COUNTS.items()},
        finished=subject.finished,
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def nic_of(subject: Subject) -> str:
    """Model and BDF, as runs have them: "82576 0000:01:00.0"."""
    return f"{subject.model} {subject.bdf}"
