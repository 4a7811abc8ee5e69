"""Where a user's files go, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from harness.core.errors import ConfigError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_root() -> Path:
    """nicproof's directory for what can be made again."""
    return _home("XDG_CACHE_HOME", ".cache")


def data_root() -> Path:
    """nicproof's directory for what is to be kept."""
    return _home("XDG_DATA_HOME", ".local/share")


def cached(directory: Path) -> Path:
    """A directory of the cache, made if need be; nobody but this user may write there, whatever
    the umask is now, or was when it was made. OSError if it cannot be had.

    What is above it and missing is made with mode 0700, as the specification asks for.
    """
    root = cache_root()
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            each.mkdir(mode=0o700, exist_ok=True)
        elif root in (each, *each.parents):
            _close(each)
    return directory


def _close(directory: Path) -> None:
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & OTHERS_WRITE:
        with suppress(PermissionError):  # it is somebody else's
            directory.chmod(mode & ~OTHERS_WRITE)


def _home(variable: str, usual: str) -> Path:
    """A path that is not absolute is to be ignored, says the specification.

    ConfigError for a user without a home, as containers have them.
    """
    base = os.environ.get(variable, "")
    if os.path.isabs(base):
        return Path(base) / "nicproof"
    # With an empty HOME expanduser() says "/".
    home = os.environ.get("HOME", "~") and os.path.expanduser("~")
    if not os.path.isabs(home):
        raise ConfigError(
            "this user has no home directory", remedy=f"set HOME, or {variable}, to a directory"
        )
    return Path(home) / usual / "nicproof"
