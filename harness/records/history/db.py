"""The database of a history: an SQLite file of the user's own, or PostgreSQL for a team.

schema.py has the tables. Whatever goes wrong is told as ConfigError (yours to mend)
or StoreFailed (the disk, the server), and never with a password in it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from harness.core.errors import ConfigError, HarnessError, StoreFailed
from harness.core.xdg import data_root
from harness.records.history.schema import META, METADATA, SCHEMA, make, migrate

APPLICATION_ID = 0x6E696368  # "nich": SQLite's own mark of who owns a file
VARIABLE = "NICPROOF_HISTORY"
PATIENCE = 30
"""Seconds to wait for another process that writes, or for a server to answer."""


@dataclass(frozen=True)
class Location:
    """Where a history is. As text it has no password."""

    url: sa.URL
    file: Path | None  # of SQLite, as the user knows it

    @classmethod
    def of(cls, where: str | None) -> Location:
        """A path, an sqlite: or a postgresql: URL; None: $NICPROOF_HISTORY, else the user's own
        file (XDG Base Directory Specification). ConfigError if it is none of them."""
        where = where or os.environ.get(VARIABLE) or str(data_root() / "history.db")
        if "://" not in where:
            return cls.at(Path(where))
        scheme = where.partition("://")[0]
        try:
            url = sa.make_url(where)
        except (sa.exc.ArgumentError, ValueError):  # whose text has the password in it
            raise ConfigError(
                f"--history: this {scheme} URL cannot be read",
                remedy="write it as postgresql://user@host:port/database; %-encode / and @ in a "
                "password, or keep that in ~/.pgpass",
            ) from None
        if scheme == "sqlite" and url.database not in (None, "", ":memory:"):
            return cls.at(Path(str(url.database)))
        if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
            return cls(url.set(drivername="postgresql+psycopg"), None)
        raise ConfigError(
            f"--history: a history cannot be kept at a URL of this kind ({scheme})",
            remedy="name a file, sqlite:///FILE or postgresql://user@host/database",
        )

    @classmethod
    def at(cls, path: Path) -> Location:
        """The SQLite file at `path`."""
        file = path.expanduser().absolute()
        return cls(sa.URL.create("sqlite", database=str(file)), file)

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        url = self.url
        plain = sa.URL.create(
            "postgresql",
            username=url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query={key: value for key, value in url.query.items() if "pass" not in key},
        )
        return plain.render_as_string()


@contextmanager
def connected(place: Location) -> Iterator[sa.Connection]:
    """A connection to the history at `place`, which is made if there is none.

    ConfigError if it is damaged, somebody else's, of another schema, out of reach or read-only;
    StoreFailed if there is no room to make it.
    """
    if place.file is not None and not os.path.lexists(place.file):
        _make_file(place.file)
    with _connected(place) as connection:
        yield connection


@contextmanager
def _connected(place: Location) -> Iterator[sa.Connection]:
    engine = _engine(place)
    try:
        with telling(place):
            connection = engine.connect()
        with closing(connection):
            with telling(place), connection.begin():
                _claim(connection, place)
            yield connection
    finally:
        engine.dispose()


def _engine(place: Location) -> sa.Engine:
    if place.file is not None:
        engine = sa.create_engine(place.url, connect_args={"timeout": PATIENCE})
        sa.event.listen(engine, "connect", _set_up_sqlite)
        return engine
    try:
        # Of a server whose encoding is SQL_ASCII, as initdb makes it in the C locale, text would
        # come as bytes.
        arguments = {
            "connect_timeout": PATIENCE,
            "application_name": "nicproof",
            "client_encoding": "utf8",
        }
        return sa.create_engine(place.url, connect_args=arguments)
    except ImportError as error:
        raise ConfigError(
            f"{place}: the PostgreSQL driver is missing: {error}",
            remedy="pip install 'psycopg[binary]>=3.2'",
        ) from error


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _make_file(file: Path) -> None:
    """A new history, for its owner's eyes only. It is made beside its place and linked into it, so
    it is there whole or not at all, and of two processes that make it at once both find one."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as beside:
            new = Path(beside) / file.name
            new.touch(0o600)
            _fill_file(Location(sa.URL.create("sqlite", database=str(new)), file))
            with suppress(FileExistsError):
                os.link(new, file)
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot make a history there: {error.strerror}",
            remedy=f"name another place by --history or ${VARIABLE}",
        ) from error


def _fill_file(place: Location) -> None:
    with telling(place), closing(sqlite3.connect(str(place.url.database))) as new:
        new.execute("PRAGMA journal_mode = WAL")
        new.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    with _connected(place):
        pass  # that makes the tables


def _claim(connection: sa.Connection, place: Location) -> None:
    """Make the tables if there are none; ConfigError if those there are not ours to use."""
    if place.file is not None:
        owner = connection.exec_driver_sql("PRAGMA application_id").scalar()
        if owner != APPLICATION_ID:
            raise _foreign(place)
    if not sa.inspect(connection).has_table(META.name):
        _exclude_others(connection, place)
        _make_tables(connection, place)
    version = _version(connection)
    if version in _EARLIER:
        _exclude_others(connection, place)
        if _version(connection) == version:  # nobody did it since
            migrate(connection, int(version))
        version = _version(connection)
    if version != str(SCHEMA):
        raise ConfigError(
            f"{place}: a history of schema version {version}, this nicproof reads {SCHEMA}",
            remedy="use the nicproof that made it, or name another place by --history",
        )


_EARLIER = tuple(map(str, range(1, SCHEMA)))


def _version(connection: sa.Connection) -> str:
    return str(connection.scalar(sa.select(META.c.value).where(META.c.key == "schema")))


def _exclude_others(connection: sa.Connection, place: Location) -> None:
    """Two processes may be about to make or to change the tables: the second one waits here, then
    finds them. The transaction of SQLite begins here, as its driver begins none for a table."""
    if place.file is None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(APPLICATION_ID)))
    else:
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _make_tables(connection: sa.Connection, place: Location) -> None:
    there = set(sa.inspect(connection).get_table_names())
    if META.name in there:
        return
    if there & set(METADATA.tables):
        raise _foreign(place)
    make(connection)


def _foreign(place: Location) -> ConfigError:
    return ConfigError(
        f"{place}: a database, but not one of nicproof's histories; it is left as it is",
        remedy="name another place by --history; in PostgreSQL, a database of its own",
    )


DAMAGED = "move it away, and bring the runs back by `nicproof history import results/*`"
"""What can be done about a history that cannot be read."""

_FULL: tuple[type[HarnessError], str, str] = (
    StoreFailed, "its disk is full", "free space there; what was stored before is intact",
)  # fmt: skip
_READ_ONLY: tuple[type[HarnessError], str, str] = (
    ConfigError, "it may not be written", "name another place by --history, or --no-history",
)  # fmt: skip
_REFUSED: tuple[type[HarnessError], str, str] = (
    StoreFailed, "it cannot be used", "what was stored before is intact",
)  # fmt: skip
_TOLD: dict[str, tuple[type[HarnessError], str, str]] = {
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": (StoreFailed, "its disk fails, or is full", _FULL[2]),
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CANTOPEN": (ConfigError, "it cannot be opened", _READ_ONLY[2]),
    "SQLITE_BUSY": (StoreFailed, f"another process has kept it locked for {PATIENCE} s",
                    "try again when that has ended"),
    "SQLITE_NOTADB": (ConfigError, "this is not a history", "name another place by --history"),
    "SQLITE_CORRUPT": (ConfigError, "it is damaged", DAMAGED),
    "53100": _FULL,
    "25006": _READ_ONLY,
    "42P07": (ConfigError, "a table of somebody else's has the name of one of a history's",
              "name a database of its own by --history"),  # duplicate_table
    "42501": _READ_ONLY,
    "XX001": (ConfigError, "it is damaged", DAMAGED),  # data_corrupted
    "XX002": (ConfigError, "it is damaged", DAMAGED),  # index_corrupted
    "unreachable": (ConfigError, "the server cannot be reached, or refuses", "mend the URL, or name"
                    " another place by --history; a password can be kept in ~/.pgpass"),
}  # fmt: skip
"""SQLite's name of an error, or PostgreSQL's SQLSTATE: whose fault, what, how to mend it."""


@contextmanager
def telling(place: Location) -> Iterator[None]:
    """Errors of the database in our words."""
    try:
        yield
    except sa.exc.IntegrityError:  # no fault of the database
        raise
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        kind, what, remedy = _TOLD.get(_code(cause), _REFUSED)
        message = " ".join(str(cause).split())
        raise kind(f"{place}: {what}: {message}", remedy=remedy) from error


def _code(error: Any) -> str:
    """SQLite's extended names, such as SQLITE_READONLY_DIRECTORY, are cut to the primary ones."""
    if isinstance(error, sqlite3.Error):
        if "decode to UTF-8" in str(error):  # Python's own, so without a name of SQLite's
            return "SQLITE_CORRUPT"
        return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return getattr(error, "sqlstate", None) or "unreachable"
