"""The tables of a history, how they are made, and how those of an earlier nicproof become these.

One schema for SQLite and PostgreSQL, by SQLAlchemy Core.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import sqlalchemy as sa

SCHEMA = 2
"""Version of the tables. An earlier one is brought up to it, a later one is refused by name."""

METADATA = sa.MetaData()


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _integers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


META = sa.Table(
    "nicproof_history",  # its name tells in a database of others' that the tables are ours
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    *_texts("value"),
)
RUN = sa.Table(
    "run",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    *_texts("run", "name", "created", "fidelity", "clock", "host", "nic", "cpu", "version"),
    *_integers("boots", "trials", "valid"),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("schema", sa.Integer, nullable=False),  # of the records
    *_texts("imported", "info"),
)


def _of_run() -> sa.Column[str]:
    return sa.Column("digest", sa.ForeignKey(RUN.c.digest, ondelete="CASCADE"), primary_key=True)


TRIAL = sa.Table(
    "trial",
    METADATA,
    _of_run(),
    sa.Column("index", sa.Integer, primary_key=True),
    *_texts("body"),
)

# What is made of a run's trials once, so that a look at many runs need not read them all.
SUMMARY = sa.Table("summary", METADATA, _of_run(), *_integers("version"), *_texts("body"))
FIGURE = sa.Table(
    "figure",
    METADATA,
    sa.Column("metric", sa.String(64), primary_key=True),  # first: one metric of all runs is read
    _of_run(),
    *_texts("body"),
)

QUALIFICATION = sa.Table(
    "qualification",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    *_texts("run", "created", "fidelity", "clock", "host", "nic", "version", "selection"),
    *_integers("passes", "failures", "errors", "skips", "deviations"),
    sa.Column("finished", sa.Boolean, nullable=False),
    *_texts("imported", "subject"),
)
VERDICT = sa.Table(
    "verdict",
    METADATA,
    sa.Column(
        "digest", sa.ForeignKey(QUALIFICATION.c.digest, ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("index", sa.Integer, primary_key=True),
    *_texts("id", "verdict", "host", "body"),
)

PLACE = sa.Table(
    "place",  # where the directory of a run or a qualification was seen
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("machine", sa.Text, primary_key=True),
    sa.Column("directory", sa.Text, primary_key=True),
)


def make(connection: sa.Connection) -> None:
    """All tables, in a database that has none of them."""
    METADATA.create_all(connection, tables=[META, RUN, TRIAL])
    _set_version(connection, "1")
    migrate(connection, 1)  # so that what is new here is what another one becomes


def migrate(connection: sa.Connection, version: int) -> None:
    """Bring tables of an earlier version up to SCHEMA, within the caller's transaction."""
    for step in range(version, SCHEMA):
        _STEPS[step](connection)
    connection.execute(sa.delete(META).where(META.c.key == "schema"))
    _set_version(connection, str(SCHEMA))


def _set_version(connection: sa.Connection, version: str) -> None:
    connection.execute(sa.insert(META).values(key="schema", value=version))


def _from_1(connection: sa.Connection) -> None:
    """Qualifications, summaries and places come in; no run is touched. Summaries are made when
    they are wanted: to make them here would let a short command wait for minutes."""
    tables = [SUMMARY, FIGURE, QUALIFICATION, VERDICT, PLACE]
    METADATA.create_all(connection, tables=tables, checkfirst=False)  # what is there is not ours
    connection.execute(sa.insert(META).values(key="id", value=str(uuid.uuid4())))


_STEPS: Mapping[int, Callable[[sa.Connection], None]] = {1: _from_1}
"""From a version to the next one."""
