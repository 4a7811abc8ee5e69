"""The records of a run on disk: one SQLite file, every append durable before it returns.

Layout: table `meta(key, value)` holds the schema version and the run's JSON; table `trial(id,
body)` one JSON document a trial. WAL mode, so a reader never blocks the run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from harness.core.errors import ConfigError, StoreFailed
from harness.records.sound import read_info, read_trial, sound
from harness.records.trial import SCHEMA, RunInfo, TrialRecord

FILENAME = "trials.db"
ASKED_FILE = "options.json"
"""Beside the records: what was asked of the run, whose id it has (harness.runs.claim)."""
APPLICATION_ID = 0x6E696370  # "nicp": SQLite's own mark of who owns a file

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""

# As bytes: text that is no UTF-8 is then a record that cannot be read, with its number.
_INFO = "SELECT CAST(value AS BLOB) FROM meta"
_TRIALS = "SELECT id, CAST(body AS BLOB) FROM trial ORDER BY id"

_RECOVER = (
    "take the run from the history or a copy; `sqlite3 trials.db .recover` shows what else is left"
)


class RunStore:
    """The store of one run directory. Make it with `create` or `open_run`."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._db = connection
        self.directory = directory

    def append(self, record: TrialRecord) -> TrialRecord:
        """Add a trial, and return it as it was stored: without what is no value, and then invalid.

        On return it survives a crash. StoreFailed if the disk refuses.
        """
        kept = sound(record)
        with self._committing():
            self._db.execute("INSERT INTO trial (body) VALUES (?)", (_encode(kept),))
        return kept

    def save_info(self, info: RunInfo) -> None:
        """Replace what is known of the whole run."""
        with self._committing():
            self._db.execute("REPLACE INTO meta VALUES ('run', ?)", (_encode(info),))

    def begun(self) -> bool:
        """Was anything told of the whole run?"""
        with self._reading("what holds for the whole run"):
            return self._db.execute("SELECT 1 FROM meta WHERE key = 'run'").fetchone() is not None

    def info(self) -> RunInfo:
        """What is known of the whole run. ConfigError if it was never told, or is damaged."""
        with self._reading("what holds for the whole run"):
            row = self._db.execute(f"{_INFO} WHERE key = 'run'").fetchone()
        if row is None:
            raise ConfigError(f"{self.directory}: the run was stopped before it began")
        return read_info(row[0], str(self._path), remedy=_RECOVER)

    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials in the order they were appended. ConfigError, with the trial, if one of them
        is damaged."""
        place = str(self._path)
        found: list[TrialRecord] = []
        for number, body in self._bodies():
            remedy = f'to go on without it: sqlite3 {place} "DELETE FROM trial WHERE id={number}"'
            found.append(read_trial(body, f"{place}: trial {number}", remedy=remedy))
        return tuple(found)

    def _bodies(self) -> Iterator[tuple[int, bytes]]:
        last = 0
        rows = self._db.cursor()
        try:
            for number, body in rows.execute(_TRIALS):
                yield number, body
                last = number
        except sqlite3.Error as error:
            what = f"the trial after {last}" if last else "its first trial"
            raise self._damaged(what, error) from error

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._damaged(what, error) from error

    def _damaged(self, what: str, error: sqlite3.Error) -> ConfigError:
        return ConfigError(f"{self._path}: {what} cannot be read: {error}", remedy=_RECOVER)

    @property
    def _path(self) -> Path:
        return self.directory / FILENAME

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except sqlite3.Error as error:
            raise StoreFailed(
                f"{self._path}: cannot store a record: {error}",
                remedy="free space on that disk; what was stored before is intact",
            ) from error


@contextmanager
def create(directory: Path) -> Iterator[RunStore]:
    """A new store in `directory`, which is made; ConfigError if it already holds a run."""
    path = directory / FILENAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot make it: {error.strerror}") from error
    if path.exists():
        raise ConfigError(
            f"{directory} already holds a run", remedy="choose another --run-dir, or remove it"
        )
    try:
        connection = _connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.executescript(f"BEGIN; {_TABLES} COMMIT;")
        with connection:
            connection.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
    except sqlite3.Error as error:
        raise StoreFailed(
            f"{path}: cannot make the store: {error}", remedy="is the disk full or read-only?"
        ) from error
    with _alone(directory):
        yield from _closing(RunStore(connection, directory))


@contextmanager
def take_up(directory: Path) -> Iterator[RunStore]:
    """The store of a run that was cut off, to go on with it. ConfigError if it is damaged, cannot
    be written to, or is being written by another process."""
    path = directory / FILENAME
    if not (os.access(directory, os.W_OK) and os.access(path, os.W_OK)):
        raise ConfigError(f"{path}: cannot be written to", remedy="copy the run elsewhere first")
    with _alone(directory):
        yield from _opened(path, path)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """ConfigError if another process measures into this directory."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigError(
            f"{directory}: another process is at work on this run",
            remedy="wait until it has ended, or end it",
        ) from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def open_run(directory: Path) -> Iterator[RunStore]:
    """The store of a run made before; ConfigError says what is wrong with it.

    It may be somebody else's, or on a disk that cannot be written to: then it can be read only.
    """
    path = directory / FILENAME
    try:
        there = path.exists()
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read: {error.strerror}") from error
    if not there:
        raise ConfigError(
            f"{directory}: no run here ({FILENAME} is missing)",
            remedy="name a directory that `nicproof bench` made, such as results/<run-id>",
        )
    with _writable(path) as file:
        yield from _opened(file, path)


@contextmanager
def _writable(path: Path) -> Iterator[Path]:
    """The database, or a copy of it: SQLite reads none in WAL mode where it cannot write beside
    it, since it has to tell others that it reads."""
    if os.access(path.parent, os.W_OK) and os.access(path, os.W_OK):
        yield path
        return
    with TemporaryDirectory(prefix="nicproof-") as directory:
        copy = Path(directory) / path.name
        try:
            for suffix in ("", "-wal"):
                if (source := path.with_name(path.name + suffix)).exists():
                    shutil.copyfile(source, copy.with_name(copy.name + suffix))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        yield copy


def _opened(file: Path, path: Path) -> Iterator[RunStore]:
    """The store in `file`, called `path`."""
    try:
        connection = _connect(file)
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        row = (
            connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
            if owner == APPLICATION_ID
            else None
        )
    except sqlite3.Error as error:
        raise ConfigError(
            f"{path}: not a store that can be read: {error}", remedy=_RECOVER
        ) from error
    if row is None:
        raise ConfigError(f"{path}: an SQLite file, but not one of nicproof's")
    if row[0] != str(SCHEMA):
        raise ConfigError(
            f"{path}: schema version {row[0]}, this nicproof reads {SCHEMA}",
            remedy="render it with the nicproof that made it",
        )
    yield from _closing(RunStore(connection, path.parent))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _closing(store: RunStore) -> Iterator[RunStore]:
    try:
        yield store
    finally:
        store.close()


def _encode(value: RunInfo | TrialRecord) -> str:
    return msgspec.json.encode(value).decode()
