"""The directory of a run, and the document in it that says what was asked of the run.

A run has a directory to itself from before its lab starts. Whoever makes the document there has
claimed it; both making a directory and making a file are atomic, so of two runs only one can.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harness import __version__
from harness.core.errors import ConfigError
from harness.records import store
from harness.records.cases import CASES_FILE
from harness.runs.asked import Asked

FILENAME = store.ASKED_FILE

DOCUMENT_OPTION = "--options-file"
"""By which pytest is told of the document; nothing else of ours is then said to it."""

RESULTS = "results"
"""Where a run has its directory if none was given."""

TAKEN_UP = "resume.json"
"""The same of a run that goes on where it was cut off: it is the old one's but for the id by which
journals and locks on a host go, since those of the old one may still be there."""

PUTTING_BACK = "putting-back.log"
"""In a run's directory: what it says once nobody is there any more to whom it could say it."""

_RECORDS = (store.FILENAME, CASES_FILE)


def new_run() -> str:
    """A run's id: when it was asked for, UTC, and a part that another one of that second has not,
    be it on another machine. Journals and locks on a host go by it."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def claim(asked: Asked) -> tuple[Asked, Path]:
    """Give the run its id and a directory to itself, and keep there what was asked of it.

    ConfigError if the directory is another run's, or cannot be written to.
    """
    given = asked.where.run_dir
    require_free(given)
    try:
        run, directory = _new() if given is None else (new_run(), _made(Path(given)))
        asked = replace(asked, run=run)
        _write_new(directory / FILENAME, msgspec.json.encode(_to_keep(asked)))
    except OSError as error:
        what = RESULTS if given is None else f"--run-dir {given}"
        raise ConfigError(
            f"{what}: cannot be made: {error.strerror}",
            remedy="say by --run-dir where the results can go",
        ) from error
    return asked, directory


def take_up(directory: Path) -> tuple[Asked, Path]:
    """What was asked of a run that was cut off, with an id of its own, and the document of that.

    ConfigError if there is no such run, or none that this version can go on with.
    """
    file = directory / FILENAME
    if not file.exists():
        raise ConfigError(
            f"--resume {directory}: no run was begun there",
            remedy="name the directory of a sweep, such as results/<run-id>",
        )
    asked, directory = load(file)
    if asked.version != __version__:
        raise ConfigError(
            f"--resume {directory}: nicproof {asked.version} began it, and this is another one",
            remedy="go on with that version, or begin anew",
        )
    return replace(asked, run=new_run()), directory / TAKEN_UP


def load(file: Path) -> tuple[Asked, Path]:
    """What was asked of a run, and its directory, by the document of a command that claimed it.

    ConfigError if that cannot be read.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Asked), file.parent
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(f"{file}: no options of a run: {error}") from error


def require_free(given: str | None) -> None:
    """ConfigError if a directory that was given for a run holds one. (Only a claim is certain.)"""
    if given is None:
        return
    if any(os.path.lexists(f"{given}/{name}") for name in _RECORDS):
        raise ConfigError(
            f"--run-dir {given}: already holds a run",
            remedy="choose another directory, or remove that one",
        )
    if os.path.lexists(f"{given}/{FILENAME}"):
        raise _begun(given)


def give_back(directory: Path) -> None:
    """Let go of the directory of a run that has ended without leaving a record."""
    if not any(next(directory.rglob(name), None) for name in _RECORDS):
        (directory / FILENAME).unlink(missing_ok=True)
        with suppress(OSError):  # a log is in it, or a report of pytest's
            directory.rmdir()


def _new() -> tuple[str, Path]:
    """A run's id, and the new directory of that name."""
    results = _made(Path(RESULTS))
    while True:
        run = new_run()
        with suppress(FileExistsError):
            (results / run).mkdir()
            return run, results / run


def _made(directory: Path) -> Path:
    directory = Path(os.path.realpath(directory))  # Path.resolve raises RuntimeError at a loop
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _write_new(path: Path, document: bytes) -> None:
    """ConfigError if another run has made it since we looked."""
    try:
        file = path.open("xb")
    except FileExistsError:
        raise _begun(str(path.parent)) from None
    try:
        with file:
            file.write(msgspec.json.format(document, indent=2) + b"\n")
    except OSError:  # a disk that is full
        path.unlink()
        raise


def _begun(directory: str) -> ConfigError:
    return ConfigError(
        f"--run-dir {directory}: another run has begun there, or was killed before it had a record",
        remedy=f"choose another directory; or remove {directory}/{FILENAME} if that run is over",
    )


def _to_keep(asked: Asked) -> Asked:
    """A history's URL may have a password in it, and records are passed on. The environment takes
    it to whoever reads the document."""
    history = asked.where.history
    if history is None or "://" not in history:
        return asked
    from harness.records.history.db import VARIABLE  # late: SQLAlchemy takes a while

    os.environ[VARIABLE] = history
    return replace(asked, where=replace(asked.where, history=None))
