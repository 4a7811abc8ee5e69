"""Paths in OpenSSH's options, taken literally: ssh_config(5) splits a value at blanks and expands
what stands after a `%`."""

from __future__ import annotations

import re
from pathlib import Path

from harness.core.errors import ConfigError

UNSAYABLE = re.compile(r"[\x00-\x1f\x7f]|\$\{")
"""What no path in an option may have: OpenSSH puts variables in place of ${...}, and nothing
prevents that."""

_SPECIAL = re.compile(r'["\\]')


def option(name: str, path: Path) -> tuple[str, str]:
    """`-o` with this one file as its value. ConfigError for a path that cannot be said."""
    if UNSAYABLE.search(str(path)):
        raise ConfigError(
            f"{str(path)!r} is no path that ssh would take literally",
            remedy="without '${' and control characters",
        )
    quoted = _SPECIAL.sub(r"\\\g<0>", str(path).replace("%", "%%"))
    return ("-o", f'{name}="{quoted}"')
