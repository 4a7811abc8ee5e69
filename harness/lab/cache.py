"""What is expensive to make is made once: a cache directory with locks and whole results only."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""Suffix of what is still being built."""


@contextmanager
def locked(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Exclusive use of `directory` (made if need be) among all processes of this machine.

    The kernel lets go of the lock however its holder dies. `say` gets a line if another process
    holds it, in which case this waits.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another process is building in {directory}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A new directory that becomes `target` if the context ends well, and vanishes if not.

    The caller holds the lock of `target.parent`, so every other unfinished directory there was
    left by a builder that was killed; they are removed first.
    """
    for stale in target.parent.glob(f"*{PARTIAL}"):
        with suppress(OSError):  # a child of that builder may be writing its last
            remove_tree(stale)
    partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    partial.mkdir(mode=0o700)
    try:
        yield partial
        partial.rename(target)
    except BaseException:
        remove_tree(partial)
        raise


def remove_tree(path: Path) -> None:
    """Remove a directory, even one with directories that are not writable."""
    if not path.exists():
        return
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o700)
    shutil.rmtree(path)
