"""Where a user's files go, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import ConfigError


def cache_root() -> Path:
    """nicproof's directory for what can be made again."""
    return _home("XDG_CACHE_HOME", ".cache")


def data_root() -> Path:
    """nicproof's directory for what is to be kept."""
    return _home("XDG_DATA_HOME", ".local/share")


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
