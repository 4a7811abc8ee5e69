"""The name of a series of runs, such as "main" or "nightly/82576": runs to be seen together."""

from __future__ import annotations

import re

from harness.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


def checked(name: str) -> str:
    """`name` itself; ConfigError if it cannot be one. "" belongs to runs that were given none."""
    if name and not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a run",
            remedy="use letters, digits and ._/- (not first), 100 at most, e.g. main or nightly/x1",
        )
    return name
