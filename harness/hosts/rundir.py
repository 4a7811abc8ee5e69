"""Private directories with short names, for unix sockets.

A socket's path is limited to 107 bytes (sun_path, unix(7)) and OpenSSH appends 17 while it binds
its control socket, so results directories, deep in a user's tree, are no place for them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harness.core.errors import LabError

PREFIX = "nicproof-"
_PLAIN = re.compile(r"/[\w./-]{0,48}", re.ASCII)
"""What may lie before a socket: its whole path takes 108 bytes at the most (unix(7))."""
LOCK = "alive"
"""A file in each directory whose lock its owner holds; the kernel lets go of it at any death."""


@contextmanager
def short_dir() -> Iterator[Path]:
    """A new directory (mode 0700) that is removed with its content when the context ends.

    What owners that were killed have left behind is swept on the way. LabError if there is no room
    for one.
    """
    base = _base()
    _sweep(base)
    try:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    except OSError as error:
        raise LabError(
            f"{base}: cannot make a directory for sockets: {error.strerror}",
            remedy="free space there",
        ) from error
    try:
        # It gets its name when it is locked: whoever finds it may remove the directory otherwise.
        taking = directory / f"{LOCK}.new"
        with taking.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            taking.rename(directory / LOCK)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _base() -> Path:
    """The user's runtime directory where there is one that can be used, else /tmp.

    Its path goes into options of ssh and of QEMU, so it is to have nothing special for either.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    usable = bool(_PLAIN.fullmatch(str(runtime))) and os.access(runtime, os.W_OK)
    return runtime if usable else Path("/tmp")


def _sweep(base: Path) -> None:
    """Remove directories of ours whose lock nobody holds.

    A directory without the lock file may be about to get one, so it is left alone. What is
    somebody else's is neither followed nor opened: anybody may make such names in /tmp.
    """
    for directory in base.glob(f"{PREFIX}*"):
        with suppress(OSError), ExitStack() as stack:
            inside = _opened(stack, str(directory), os.O_DIRECTORY)
            lock = _opened(stack, LOCK, os.O_NONBLOCK, inside)
            if not (_is_ours(inside) and _is_ours(lock)):
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(inside), directory.lstat()):
                shutil.rmtree(directory, ignore_errors=True)


def _opened(stack: ExitStack, name: str, flags: int, inside: int | None = None) -> int:
    """A descriptor to read from, closed with the stack; OSError if a link stands there."""
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=inside)
    stack.callback(os.close, opened)
    return opened


def _is_ours(opened: int) -> bool:
    return os.fstat(opened).st_uid == os.getuid()
