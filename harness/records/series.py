"""The name of a series of runs, such as "main" or "nightly/82576": runs to be seen together."""

from __future__ import annotations

import re

from harness.core.errors import ConfigError

LONGEST = 100  # characters
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._/-]{{0,{LONGEST - 1}}}")


def checked(name: str) -> str:
    """`name` itself; ConfigError if it cannot be one. "" belongs to runs that were given none."""
    if name and not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a run",
            remedy=f"use letters, digits and ._/- (not first), {LONGEST} at most, e.g. main or "
            "nightly/x1",
        )
    return name
