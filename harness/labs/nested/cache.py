"""What is expensive to make is made once: a cache directory with locks and whole results only.

Each entry lists its files and their sizes, so one that has lost some is known, and made anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from harness.core import xdg
from harness.core.errors import ConfigError, LabError

PARTIAL = ".partial"
"""Suffix of what is still being built, or removed."""

CONTENTS = "contents.json"
"""In each entry: its files and their sizes in bytes, as they were when it was built."""

USUAL_UMASK = 0o022
"""What distributions have: the owner writes, others read. Entries themselves have mode 0700."""

REMEDY = "set XDG_CACHE_HOME to a directory that is yours, on a disk with room"


def usable(directory: Path) -> Path:
    """A directory of the cache, made if need be. ConfigError if nothing can be written there."""
    try:
        xdg.cached(directory)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"the cache {directory} cannot be written to: {error.strerror}", remedy=REMEDY
        ) from error
    return directory


@contextmanager
def locked(directory: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Exclusive use of `directory` (made if need be) among all processes of this machine.

    The kernel lets go of the lock however its holder dies. `say` gets a line if another process
    holds it, in which case this waits. ConfigError if nothing can be written there.
    """
    with (usable(directory) / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another process is building in {directory}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(
    entry: Path, what: str, build: Callable[[Path], None], say: Callable[[str], None]
) -> None:
    """Have `build` make the entry, in the directory that it is given, unless it is there with all
    its files. Concurrent builders wait for one another; `say` gets a line for whoever waits.

    Raises what `locked`, `building` and `build` raise.
    """
    if not damage(entry):
        return
    with locked(entry.parent, say):
        lost = damage(entry)  # else somebody built it while we waited
        if lost and entry.is_dir():
            say(f"{what} is damaged, and made anew: {lost}")
            discard(entry)
        if lost:
            with building(entry) as partial:
                build(partial)


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A new directory that becomes `target` if the context ends well, and vanishes if not.

    The caller holds the lock of `target.parent`, so every other unfinished directory there was
    left by a builder that was killed; they are removed first. LabError if the disk refuses.

    What is built does not depend on this user's umask: parts of an entry become a guest's, or L1's,
    where a password file that only root can read, or that all may write to, is a fault.
    """
    sweep(target.parent)
    partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    umask = os.umask(USUAL_UMASK)
    try:
        partial.mkdir(mode=0o700)
        yield partial
        (partial / CONTENTS).write_bytes(msgspec.json.encode(_sizes(partial)))
        partial.rename(target)
    except OSError as error:
        remove_tree(partial)
        why = f"{error.filename or partial}: {error.strerror}"
        raise LabError(f"the cache cannot be written to: {why}", remedy=REMEDY) from error
    except BaseException:
        remove_tree(partial)
        raise
    finally:
        os.umask(umask)


def sweep(directory: Path) -> None:
    """Remove what is unfinished there. The caller holds the directory's lock."""
    for stale in directory.glob(f"*{PARTIAL}"):
        with suppress(OSError):  # a child of that builder may be writing its last
            discard(stale)


def damage(entry: Path) -> str:
    """What an entry lacks, "" if nothing: itself, or the first file that is not as it was built."""
    if not entry.is_dir():
        return "it is not there"
    try:
        built = msgspec.json.decode((entry / CONTENTS).read_bytes(), type=dict[str, int])
    except (OSError, msgspec.MsgspecError):
        return f"{CONTENTS}, the list of its files, is not readable"
    for name, size in built.items():
        now = _size(entry / name)
        if now is None:
            return f"{name} is missing"
        if now != size:
            return f"{name} has {now} bytes instead of {size}"
    return ""


def discard(entry: Path) -> None:
    """Remove an entry, or a file of the cache, as if at once: nobody finds it half removed."""
    if not entry.name.endswith(PARTIAL):
        entry = entry.rename(entry.with_name(f"{entry.name}.{os.getpid()}{PARTIAL}"))
    remove_tree(entry)


def remove_tree(path: Path) -> None:
    """Remove a directory, even one with directories that are not writable; or a file."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o700)
    shutil.rmtree(path)


def _sizes(entry: Path) -> dict[str, int]:
    """Of everything below `entry` but directories, by its path there."""
    found = (Path(at, name) for at, _, names in os.walk(entry) for name in names)
    return {str(file.relative_to(entry)): file.lstat().st_size for file in found}


def _size(file: Path) -> int | None:
    try:
        return file.lstat().st_size
    except OSError:
        return None
