"""The options of a qualification, defined once for `nicproof qualify` and for pytest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from harness.errors import ConfigError
from harness.flags import Option, names
from harness.options import OPTIONS
from harness.pci.address import Address
from harness.qualify.record import FAMILIES

OWN = (
    Option(
        "--nic",
        "BDF of the port to qualify (default: the lab's first port)",
        {"metavar": "BDF", "default": ""},
    ),
    Option(
        "--family",
        f"comma-separated families of cases (default: all); of {', '.join(FAMILIES)}",
        {"metavar": "NAMES", "default": ""},
    ),
    Option(
        "--soak",
        "how long the stress case keeps traffic on all VFs, e.g. 90s, 10m, 2h (default 20s)",
        {"metavar": "DURATION", "default": "20s"},
    ),
)

SHARED = tuple(each for each in OPTIONS if each.flag in ("--lab", "--clock", "--run-dir"))

_DURATION = re.compile(r"(\d+)([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class _Namespace(Protocol):
    nic: str
    family: str
    soak: str


@dataclass(frozen=True)
class QualifyOptions:
    """A qualification as asked for, checked; what it shares with a bench is in BenchOptions."""

    nic: str  # BDF; "" for the lab's first port
    families: tuple[str, ...]
    soak: int  # seconds

    @classmethod
    def of(cls, given: _Namespace) -> QualifyOptions:
        """From parsed options; ConfigError names the option that cannot be."""
        return cls(
            nic=str(Address.parse(given.nic)) if given.nic else "",
            families=_families(given.family),
            soak=_seconds(given.soak),
        )


def _families(text: str) -> tuple[str, ...]:
    chosen = names(text)
    for name in chosen:
        if name not in FAMILIES:
            raise ConfigError(
                f"--family: {name!r} is no family of cases",
                remedy=f"choose from {', '.join(FAMILIES)}",
            )
    return chosen or tuple(FAMILIES)


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise ConfigError(f"--soak {text}: no duration", remedy="write it as 90s, 10m or 2h")
    return int(match[1]) * _SECONDS[match[2]]
