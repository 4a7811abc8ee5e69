"""The history of runs: all that were measured, on one machine or by a team, to be found again.

Kept in a database (db.py, schema.py): a row a run and a row a trial. A run's key is a digest of
its content, so that one that is added twice is there once, and runs of two machines never collide.
What the tools printed (`TrialRecord.raw`) stays in the run's own directory: it is half of a run's
bytes (49 to 56 per cent, measured), and no report reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from harness.core.errors import ConfigError
from harness.records import series
from harness.records.history.base import BEGINNING, DIGITS, Part, digest, encode
from harness.records.history.db import DAMAGED, Location, connected
from harness.records.history.qualifications import Qualifications
from harness.records.history.schema import RUN, TRIAL
from harness.records.history.summaries import Summaries, Summary, insert
from harness.records.run import Run
from harness.records.sound import damage, read_info, read_trial
from harness.records.trial import SCHEMA, RunInfo, TrialRecord


@dataclass(frozen=True)
class RunEntry:
    """A run in a history, without its trials."""

    digest: str  # sha256 of its content
    run: str  # its id, which another machine's run may have too
    name: str  # the series it belongs to; "" for none
    created: str  # UTC, ISO 8601
    fidelity: str
    clock: str
    host: str
    nic: str
    cpu: str
    version: str  # nicproof's
    boots: int
    trials: int
    valid: int  # of the trials
    finished: bool  # False: interrupted; what is there is still good
    schema: int  # of its records
    imported: str  # UTC, ISO 8601


class History(Part):
    """An open history. Make it with `open_history`."""

    @property
    def summaries(self) -> Summaries:
        """The same runs in short."""
        return Summaries(self._db, self._place)

    @property
    def qualifications(self) -> Qualifications:
        """What else is kept there."""
        return Qualifications(self._db, self._place)

    def add(
        self,
        info: RunInfo,
        trials: Sequence[TrialRecord],
        name: str = "",
        directory: Path | None = None,
    ) -> RunEntry:
        """Keep a run, and where its directory is; on return it survives a crash. One that is there
        already stays as it is, but for its directory.

        ConfigError if it has no trial, one holds what is no value, or the name cannot be one;
        StoreFailed if the disk or the server refuses: then nothing of the run is kept.
        """
        if not trials:
            raise ConfigError(f"{info.run}: no trial was finished in this run: nothing to keep")
        for trial in trials:
            if found := tuple(damage(trial)):
                raise ConfigError(f"{info.run}, trial {trial.index}: {'; '.join(found)}")
        lean = tuple(map(_lean, trials))
        entry = _entry(info, lean, series.checked(name))
        bodies = [
            {"digest": entry.digest, "index": index, "body": encode(trial)}
            for index, trial in enumerate(lean)
        ]
        row = {each.name: getattr(entry, each.name) for each in fields(RunEntry)}
        summary = Summary.of(Run(info, lean))

        def store(db: sa.Connection) -> None:
            db.execute(sa.insert(RUN), row | {"info": encode(info)})
            db.execute(sa.insert(TRIAL), bodies)
            insert(db, entry.digest, summary)

        return self._keep(entry, store, self.known, directory)

    def known(self, digest: str) -> RunEntry | None:
        """The run of this digest, if it is there."""
        found = self._select(RUN.c.digest == digest)
        return found[0] if found else None

    def entries(self, name: str | None = None) -> tuple[RunEntry, ...]:
        """All runs, or those of one series, the newest first."""
        return self._select(sa.true() if name is None else RUN.c.name == name)

    def find(self, what: str) -> RunEntry:
        """The newest run of the series `what`, else the run of that id, else that whose digest
        begins so (6 digits at least). ConfigError if there is none, or more than one."""
        entries = self.entries()
        named = [entry for entry in entries if entry.name == what]
        if what and named:
            return named[0]
        found = [entry for entry in entries if entry.run == what]
        if not found and BEGINNING.fullmatch(what):
            found = [entry for entry in entries if entry.digest.startswith(what)]
        if len(found) == 1:
            return found[0]
        raise self._ambiguous(what, found) if found else self._unknown(what, entries)

    def load(self, entry: RunEntry) -> tuple[RunInfo, tuple[TrialRecord, ...]]:
        """A run with its trials, without what the tools printed.

        ConfigError if it is not there any more, or its records are of another schema.
        """
        if entry.schema != SCHEMA:
            raise ConfigError(
                f"{entry.run}: records of schema version {entry.schema}, this nicproof reads "
                f"{SCHEMA}",
                remedy="use the nicproof that made it",
            )
        with self._reading() as db:
            info = db.scalar(sa.select(RUN.c.info).where(RUN.c.digest == entry.digest))
            rows = db.execute(
                sa.select(TRIAL.c["index"], TRIAL.c.body)
                .where(TRIAL.c.digest == entry.digest)
                .order_by(TRIAL.c["index"])
            ).all()
        if info is None:
            raise ConfigError(f"{entry.run}: not in {self.where} any more")
        where = f"{self.where}: {entry.run}"
        remedy = (
            f"nicproof history forget {entry.digest[:DIGITS]}, and import its directory again, if "
            "there is one"
        )
        if len(rows) != entry.trials:
            raise ConfigError(f"{where}: {len(rows)} of its {entry.trials} trials", remedy=remedy)
        return read_info(info, where, remedy=remedy), tuple(
            read_trial(body, f"{where}, trial {index}", remedy=remedy) for index, body in rows
        )

    def _select(self, condition: sa.ColumnElement[bool]) -> tuple[RunEntry, ...]:
        newest = (RUN.c.created.desc(), RUN.c.run.desc(), RUN.c.digest)
        query = sa.select(*_COLUMNS).where(condition).order_by(*newest)
        with self._reading() as db:
            rows = db.execute(query).all()
        return tuple(map(self._entry_of, rows))

    def _entry_of(self, row: sa.Row[Any]) -> RunEntry:
        """SQLite keeps whatever it is given, or damage leaves; a column's type is but advice."""
        try:
            return msgspec.convert(dict(zip(_NAMES, row, strict=True)), RunEntry)
        except msgspec.ValidationError as error:
            raise ConfigError(
                f"{self.where}: its list of runs is damaged, at {row.run!r}: {error}",
                remedy=DAMAGED,
            ) from error

    def _unknown(self, what: str, entries: Sequence[RunEntry]) -> ConfigError:
        known = {text for entry in entries for text in (entry.name, entry.run) if text}
        near = get_close_matches(what, sorted(known))
        return ConfigError(
            f"{what!r}: no run of this name, id or digest in {self.where}",
            remedy=f"did you mean {' or '.join(near)}?" if near else "see `nicproof history`",
        )

    def _ambiguous(self, what: str, found: Sequence[RunEntry]) -> ConfigError:
        those = ", ".join(f"{entry.digest[:DIGITS]} ({entry.host})" for entry in found)
        return ConfigError(
            f"{what!r}: {len(found)} runs in {self.where}", remedy=f"choose by digest: {those}"
        )


@contextmanager
def open_history(where: str | None = None) -> Iterator[History]:
    """The history at `where`: a path, `sqlite:///FILE` or `postgresql://...`; None: what
    $NICPROOF_HISTORY says, else the user's own file. It is made if there is none.

    Raises what `harness.records.history.db.connected` does.
    """
    place = Location.of(where)
    with connected(place) as connection:
        yield History(connection, place)


def check_usable(where: str | None) -> None:
    """ConfigError or StoreFailed if a run could not be added there."""
    with open_history(where) as history:
        history.ensure_writable()


def digest_of(info: RunInfo, trials: Sequence[TrialRecord]) -> str:
    """The digest of what a run says, without what tools printed."""
    return digest(info=info, trials=tuple(map(_lean, trials)))


def _lean(trial: TrialRecord) -> TrialRecord:
    return msgspec.structs.replace(trial, raw={})


def _entry(info: RunInfo, trials: Sequence[TrialRecord], name: str) -> RunEntry:
    return RunEntry(
        digest=digest_of(info, trials),
        run=info.run,
        name=name,
        created=info.created,
        fidelity=info.fidelity,
        clock=info.clock,
        host=info.host,
        nic=info.nic,
        cpu=info.environment.get("host", {}).get("CPU", "unknown"),
        version=info.version,
        boots=info.boots,
        trials=len(trials),
        valid=sum(trial.valid for trial in trials),
        finished=info.finished,
        schema=info.schema,
        imported=datetime.now(UTC).isoformat(timespec="seconds"),
    )


_NAMES = tuple(each.name for each in fields(RunEntry))
_COLUMNS = tuple(RUN.c[name] for name in _NAMES)
