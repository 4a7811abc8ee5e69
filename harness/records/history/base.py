"""What all parts of an open history share: its connection, its transactions, how content is named,
and where the directories of runs were seen."""

from __future__ import annotations

import hashlib
import re
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from harness.core.errors import ConfigError, StoreFailed
from harness.records.history.db import DAMAGED, Location, telling
from harness.records.history.schema import META, PLACE, QUALIFICATION, RUN

DIGITS = 8
"""Hexadecimal digits of a digest that are shown; 6 of them are enough to ask for a run."""
BEGINNING = re.compile(r"[0-9a-f]{6,64}")


@dataclass(frozen=True)
class Place:
    """Where the directory of a run was when it was added."""

    machine: str  # its host name
    directory: Path


class Kept(Protocol):
    """What a history keeps, by the digest of its content."""

    @property
    def digest(self) -> str: ...
    @property
    def run(self) -> str: ...


Entry = TypeVar("Entry", bound=Kept)


class Part:
    """A part of an open history."""

    def __init__(self, connection: sa.Connection, place: Location) -> None:
        self._db = connection
        self._place = place

    @property
    def where(self) -> str:
        """For a reader: the file, or the URL without its password."""
        return str(self._place)

    @property
    def id(self) -> str:
        """A UUID of this history's own, wherever it is moved."""
        with self._reading() as db:
            return str(db.scalar(sa.select(META.c.value).where(META.c.key == "id")))

    def ensure_writable(self) -> None:
        """ConfigError if no run could be added: told by adding none, before one is measured."""
        nothing = sa.select(META).where(sa.false())
        with self._transaction() as db:
            db.execute(sa.insert(META).from_select(["key", "value"], nothing))

    def seen_at(self, digest: str, directory: Path) -> None:
        """Remember where the directory of a run, or of a qualification, is on this machine."""
        row = {"digest": digest, "machine": socket.gethostname(), "directory": str(directory)}
        same = sa.and_(*(PLACE.c[name] == value for name, value in row.items()))
        with self._transaction() as db:
            if db.execute(sa.select(PLACE).where(same)).first() is None:
                db.execute(sa.insert(PLACE), row)

    def _keep(
        self,
        entry: Entry,
        store: Callable[[sa.Connection], None],
        known: Callable[[str], Entry | None],
        directory: Path | None,
    ) -> Entry:
        """Keep what `store` inserts, or what is there of the same content, and where its directory
        is; its entry."""
        try:
            with self._transaction() as db:
                store(db)
        except sa.exc.IntegrityError as error:  # it is there, perhaps since just now
            there = known(entry.digest)
            if there is None:
                raise StoreFailed(
                    f"{self.where}: {entry.run} was forgotten while it was added",
                    remedy="add it again",
                ) from error
            entry = there
        if directory is not None:
            self.seen_at(entry.digest, directory)
        return entry

    def places(self) -> dict[str, list[Place]]:
        """By digest, where directories were seen; runs of before that was kept have none."""
        with self._reading() as db:
            rows = db.execute(sa.select(PLACE).order_by(PLACE.c.machine, PLACE.c.directory)).all()
        found: dict[str, list[Place]] = defaultdict(list)
        for digest, machine, directory in rows:
            found[digest].append(Place(machine, Path(directory)))
        return found

    def forget(self, digest: str) -> None:
        """Remove a run with its trials, or a qualification with its verdicts."""
        with self._transaction() as db:
            for table in (PLACE, RUN, QUALIFICATION):
                db.execute(sa.delete(table).where(table.c.digest == digest))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """All or nothing."""
        with telling(self._place), self._db.begin():
            yield self._db

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """One view of the whole, whose values are of their columns' types."""
        try:
            with self._transaction() as db:
                yield db
        except (ValueError, TypeError) as error:  # of SQLAlchemy's, on a value's way into its type
            raise ConfigError(f"{self.where}: it is damaged: {error}", remedy=DAMAGED) from error


def digest(**parts: object) -> str:
    """sha256, in hexadecimal, of what records say: canonical JSON of the parts without fields at
    their defaults, so that a field which a later version adds changes none."""
    content = {name: _said(part) for name, part in parts.items()}
    said = msgspec.json.encode(content, order="deterministic")
    return hashlib.sha256(said).hexdigest()


def _said(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        pairs = ((name, getattr(value, name), default) for name, default in _fields(type(value)))
        return {name: _said(part) for name, part, default in pairs if part != default}
    if isinstance(value, tuple) and not all(type(part) is int for part in value):
        return [_said(part) for part in value]
    return value


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, object], ...]:
    """Its fields, with their defaults. msgspec evaluates annotations for it, which takes long."""
    return tuple((each.name, _default(each)) for each in msgspec.structs.fields(kind))


def _default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def encode(record: object) -> str:
    """A record as its column holds it."""
    return msgspec.json.encode(record).decode()
