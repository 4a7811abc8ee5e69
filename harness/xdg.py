"""Where a user's files go, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """nicproof's directory for what can be made again."""
    return _home("XDG_CACHE_HOME", ".cache")


def data_root() -> Path:
    """nicproof's directory for what is to be kept."""
    return _home("XDG_DATA_HOME", ".local/share")


def _home(variable: str, usual: str) -> Path:
    """A path that is not absolute is to be ignored, says the specification."""
    base = os.environ.get(variable, "")
    return (Path(base) if os.path.isabs(base) else Path.home() / usual) / "nicproof"
