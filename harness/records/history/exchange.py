"""Runs and qualifications on their way into and out of a history: their directories, and files of
JSON lines."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness.core.errors import ConfigError, StoreFailed
from harness.records.cases import CASES_FILE, CaseRecord, Subject, load_cases, load_subject
from harness.records.history import qualifications
from harness.records.history.qualifications import QualificationEntry
from harness.records.history.runs import History, RunEntry, digest_of
from harness.records.sound import damage
from harness.records.store import open_run
from harness.records.trial import SCHEMA, RunInfo, TrialRecord

_GZIP = b"\x1f\x8b"


class _Version(msgspec.Struct):
    """What of a line has to be known before the rest can be read."""

    schema: int
    subject: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # only of a qualification


class ExportLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of such a file that is a run with its trials."""

    schema: int = SCHEMA
    digest: str = ""  # runs.digest_of; "" for a run that comes from its directory
    name: str = ""
    info: RunInfo
    trials: tuple[TrialRecord, ...]

    @property
    def digest_found(self) -> str:
        return digest_of(self.info, self.trials)


class QualificationLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is a qualification with its cases."""

    schema: int = SCHEMA
    digest: str = ""  # qualifications.digest_of; "" for one that comes from its directory
    subject: Subject
    cases: tuple[CaseRecord, ...]

    @property
    def digest_found(self) -> str:
        return qualifications.digest_of(self.subject, self.cases)


Line = ExportLine | QualificationLine


def write(file: Path, history: History, entries: Iterable[RunEntry | QualificationEntry]) -> None:
    """Write runs and qualifications into `file`, compressed if its name ends in .gz; whole, or not
    at all.

    StoreFailed if the disk refuses.
    """
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with unfinished.open("wb") as raw:
            with _packed(raw) if file.suffix == ".gz" else nullcontext(raw) as out:
                for entry in entries:
                    out.write(msgspec.json.encode(_line_of(history, entry)) + b"\n")
            raw.flush()
            os.fsync(raw.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise StoreFailed(
            f"{file}: cannot write it: {error.strerror}", remedy="free space, or name another file"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _line_of(history: History, entry: RunEntry | QualificationEntry) -> Line:
    if isinstance(entry, QualificationEntry):
        subject, cases = history.qualifications.load(entry)
        return QualificationLine(digest=entry.digest, subject=subject, cases=cases)
    info, trials = history.load(entry)
    return ExportLine(digest=entry.digest, name=entry.name, info=info, trials=trials)


def _packed(raw: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0)


def read(path: Path) -> Iterator[Line]:
    """The run or the qualification in a directory, or those in a file that `write` made.

    ConfigError says what cannot be read, and where.
    """
    if (path / CASES_FILE).exists():
        yield QualificationLine(subject=load_subject(path), cases=load_cases(path))
        return
    if path.is_dir():
        with open_run(path) as store:
            yield ExportLine(info=store.info(), trials=store.trials())
        return
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2).startswith(_GZIP)
            with gzip.GzipFile(fileobj=raw) if packed else nullcontext(raw) as lines:
                for number, text in enumerate(lines, 1):
                    yield _line(text, f"{path}, line {number}")
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot read it: {why}") from error


def _line(text: bytes, where: str) -> Line:
    try:
        head = msgspec.json.decode(text, type=_Version)
        if head.schema != SCHEMA:
            raise ValueError(f"schema version {head.schema}, this nicproof reads {SCHEMA}")
        of_run = head.subject is msgspec.UNSET
        kind: type[Line] = ExportLine if of_run else QualificationLine
        line = msgspec.json.decode(text, type=kind)
        if line.digest_found != line.digest:
            raise ValueError("its digest is another: it was changed, or damaged on its way")
        for trial in line.trials if isinstance(line, ExportLine) else ():
            if found := tuple(damage(trial)):
                raise ValueError(f"trial {trial.index}: {'; '.join(found)}")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where}: not a run that `nicproof history export` wrote: {error}",
            remedy="export it again; the runs before it are whole",
        ) from error
    return line
