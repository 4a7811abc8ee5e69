"""The directory of a site: nobody else's files are touched, each page is whole, stale ones go."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import msgspec

from harness.core.errors import ConfigError, LabError

MARK = "nicproof-site.json"
"""In a site's directory: which files are nicproof's."""


class _Mark(msgspec.Struct):
    files: list[str]


def write(directory: Path, pages: Mapping[str, Callable[[], str]]) -> None:
    """Write pages, each by its name and what makes it, and remove those of before that are not
    among them.

    ConfigError if the directory holds anything else, or another process writes there; LabError if
    it cannot be written.
    """
    before = require(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone(directory):
            # What is in the mark is nicproof's, be it killed at any moment.
            _mark(directory, sorted({*before, *pages}))
            for name in {*before, *pages}:
                _unfinished(directory / name).unlink(missing_ok=True)  # of one that was killed
            _write_all(directory, pages)
            for name in set(before) - set(pages):
                (directory / name).unlink(missing_ok=True)
            _mark(directory, sorted(pages))
    except OSError as error:
        raise LabError(
            f"{directory}: cannot write the site: {error.strerror}",
            remedy="free space there, or name another directory; the next run completes it",
        ) from error


def require(directory: Path) -> list[str]:
    """The files of the site that is there, none if there is nothing yet. ConfigError if there is
    anything else."""
    try:
        there = {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{directory}: no directory for a site: {error.strerror}") from error
    if not there:
        return []
    try:
        files = msgspec.json.decode((directory / MARK).read_bytes(), type=_Mark).files
    except (OSError, msgspec.MsgspecError):
        raise ConfigError(
            f"{directory}: it holds something that is no site of nicproof's ({min(there)}, ...)",
            remedy="name a new directory, or an empty one",
        ) from None
    return [name for name in files if not (name.startswith("/") or ".." in Path(name).parts)]


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two that write one site would remove each other's pages."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{directory}: another nicproof is writing this site", remedy="wait for it"
            ) from None
        yield
    finally:
        os.close(handle)


def _mark(directory: Path, files: list[str]) -> None:
    _write(directory / MARK, msgspec.json.encode(_Mark(files)).decode())


_made: dict[Path, Mapping[str, Callable[[], str]]] = {}
"""In a process that makes pages: what it was begun with."""


def _write_all(directory: Path, pages: Mapping[str, Callable[[], str]]) -> None:
    """By a process for each CPU: a large site is half a minute of work otherwise, and its pages
    do not know of one another."""
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)),
        mp_context=get_context("fork"),  # what makes a page is not to be sent anywhere
        initializer=_made.update,
        initargs=({directory: pages},),
    ) as processes:
        for _ in processes.map(_write_one, repeat(directory), pages, chunksize=8):
            pass


def _write_one(directory: Path, name: str) -> None:
    _write(directory / name, _made[directory][name]())


def _write(file: Path, text: str) -> None:
    """Whole or not at all. One that is the same already keeps its time, for who copies what is
    new."""
    content = text.encode()
    try:
        if file.read_bytes() == content:
            return
    except FileNotFoundError:
        file.parent.mkdir(exist_ok=True)
    _unfinished(file).write_bytes(content)
    _unfinished(file).replace(file)


def _unfinished(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")
