"""What drivers and the kernel say of devices, and what that means: one TOML file a speaker.

The profiles' directory `messages` has `kernel.toml`, which holds for every device, and a file for
each driver that says things of its own. To add a driver, write a file named after it; nothing else
needs to change.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness.core.errors import ConfigError

DIRECTORY = Path(__file__).parent / "profiles" / "messages"

KERNEL = "kernel"
"""The file that holds for every device."""

Blames = Literal["product", "rig", "suspect", "nobody"]
"""product: what no healthy device and driver say; rig: the host's set-up is at fault; suspect: a
fault, or none, which the line alone does not tell; nobody: said of healthy devices."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Saying(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lines of one kind.

    `pattern` is a regular expression, searched for in what stands behind the name of driver and
    device. Groups in it tell whom a line is about that has no such name: `interface`, `driver`,
    and `source`, a routing ID in hexadecimal digits.
    """

    pattern: Text
    blames: Blames
    source: Text  # file and symbol of the kernel
    why: str = ""  # of what is not plainly a fault

    @property
    def expression(self) -> re.Pattern[str]:
        return re.compile(self.pattern)  # which keeps what it has compiled


class _Speaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    says: tuple[Saying, ...]


def parse_sayings(text: str, name: str) -> tuple[Saying, ...]:
    """A speaker's sayings from its TOML; ConfigError says what in `name` is wrong."""
    try:
        found = msgspec.toml.decode(text, type=_Speaker).says
        for saying in found:
            re.compile(saying.pattern)
    except (msgspec.DecodeError, re.error) as error:
        raise ConfigError(f"messages {name}: {error}") from error
    return found


@cache
def sayings(driver: str) -> tuple[Saying, ...]:
    """What may be heard of a device of this driver, in the order in which it is to be looked for:
    the driver's own words first. "" is no driver."""
    names = (driver, KERNEL) if driver in speakers() else (KERNEL,)
    return tuple(saying for name in names for saying in _read(name))


@cache
def speakers() -> frozenset[str]:
    """Drivers that have a file."""
    return frozenset(path.stem for path in DIRECTORY.glob("*.toml")) - {KERNEL}


@cache
def _read(name: str) -> tuple[Saying, ...]:
    path = DIRECTORY / f"{name}.toml"
    return parse_sayings(path.read_text(), path.name)
