"""The records of a run on disk: one SQLite file, every append durable before it returns.

Layout: table `meta(key, value)` holds the schema version and the run's JSON; table `trial(id,
body)` one JSON document a trial. WAL mode, so a reader never blocks the run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.errors import ConfigError, StoreFailed
from harness.measure.record import SCHEMA, RunInfo, TrialRecord

FILENAME = "trials.db"
APPLICATION_ID = 0x6E696370  # "nicp": SQLite's own mark of who owns a file

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""


class RunStore:
    """The store of one run directory. Make it with `create` or `open_run`."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._db = connection
        self.directory = directory

    def append(self, record: TrialRecord) -> None:
        """Add a trial; on return it survives a crash. StoreFailed if the disk refuses."""
        with self._committing():
            self._db.execute("INSERT INTO trial (body) VALUES (?)", (_encode(record),))

    def save_info(self, info: RunInfo) -> None:
        """Replace what is known of the whole run."""
        with self._committing():
            self._db.execute("REPLACE INTO meta VALUES ('run', ?)", (_encode(info),))

    def info(self) -> RunInfo:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
        if row is None:
            raise ConfigError(f"{self.directory}: the run was stopped before it began")
        return msgspec.json.decode(row[0], type=RunInfo)

    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials in the order they were appended."""
        rows = self._db.execute("SELECT body FROM trial ORDER BY id").fetchall()
        return tuple(msgspec.json.decode(row[0], type=TrialRecord) for row in rows)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _committing(self) -> Iterator[None]:
        try:
            with self._db:
                yield
        except sqlite3.Error as error:
            raise StoreFailed(
                f"{self.directory / FILENAME}: cannot store a record: {error}",
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
    yield from _closing(RunStore(connection, directory))


@contextmanager
def open_run(directory: Path) -> Iterator[RunStore]:
    """The store of a run made before; ConfigError says what is wrong with it."""
    path = directory / FILENAME
    if not path.exists():
        raise ConfigError(
            f"{directory}: no run here ({FILENAME} is missing)",
            remedy="name a directory that `nicproof bench` made, such as results/<run-id>",
        )
    try:
        connection = _connect(path)
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        row = (
            connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
            if owner == APPLICATION_ID
            else None
        )
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: not a store that can be read: {error}") from error
    if row is None:
        raise ConfigError(f"{path}: an SQLite file, but not one of nicproof's")
    if row[0] != str(SCHEMA):
        raise ConfigError(
            f"{path}: schema version {row[0]}, this nicproof reads {SCHEMA}",
            remedy="render it with the nicproof that made it",
        )
    yield from _closing(RunStore(connection, directory))


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
