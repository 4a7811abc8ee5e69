"""The cases of which it is known that emulated hardware fails them, each with its cause.

The list is strict: a case on it that passes is told as a failure, so that a new QEMU which mends
one is noticed as much as one which breaks another.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from harness.core.errors import ConfigError


class Deviation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One failure that is expected on emulated hardware."""

    case: str
    cause: str  # what the emulation does, and where in its source
    silicon: str  # what real hardware does, with the source of that


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    deviation: tuple[Deviation, ...] = ()


def load(path: Path) -> dict[str, Deviation]:
    """Case id -> deviation. ConfigError names the file if it cannot be read as such."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        listed = msgspec.convert(content, type=_File).deviation
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    found = {each.case: each for each in listed}
    if len(found) != len(listed):
        raise ConfigError(f"{path}: a case is listed twice")
    return found
