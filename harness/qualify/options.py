"""The options of a qualification, declared once for `nicproof qualify` and for pytest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import msgspec

from harness.core.errors import ConfigError
from harness.core.flags import LINE_MAX, NAMES, names, says
from harness.pci.address import Address
from harness.records.cases import FAMILIES

LONGEST_SOAK = 7 * 24 * 3600
"""Seconds."""


class Qualification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a qualification, beside what it shares with every run (harness.runs.asked.Where)."""

    nic: (
        Annotated[
            str,
            says(
                "BDF of the port to qualify (default: the lab's first port)",
                metavar="BDF",
                max_length=LINE_MAX,
                examples=["0000:01:00.0"],
            ),
        ]
        | None
    ) = None
    family: (
        Annotated[
            str,
            says(
                f"comma-separated families of cases (default: all); of {', '.join(FAMILIES)}",
                metavar=NAMES,
                words=tuple(FAMILIES),
                max_length=LINE_MAX,
                examples=["ptp", ",".join(FAMILIES)],
            ),
        ]
        | None
    ) = None
    soak: Annotated[
        str,
        says(
            "how long the stress case keeps traffic on all VFs, e.g. 90s, 10m, 2h (default 20s), "
            f"{LONGEST_SOAK // 3600}h at the most",
            metavar="DURATION",
            max_length=LINE_MAX,
            examples=["1s", f"{LONGEST_SOAK // 3600}h"],
        ),
    ] = "20s"


_DURATION = re.compile(r"([0-9]{1,9})([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class QualifyOptions:
    """A qualification as asked for, checked; what it shares with a bench is in BenchOptions."""

    nic: str  # BDF; "" for the lab's first port
    families: tuple[str, ...]
    soak: int  # seconds

    @classmethod
    def of(cls, asked: Qualification) -> QualifyOptions:
        """ConfigError names the option that cannot be."""
        return cls(
            nic="" if asked.nic is None else _bdf(asked.nic),
            families=tuple(FAMILIES) if asked.family is None else _families(asked.family),
            soak=_seconds(asked.soak),
        )


def _bdf(text: str) -> str:
    try:
        return str(Address.parse(text))
    except ConfigError as error:
        raise ConfigError(f"--nic: {error.message}", remedy=error.remedy) from error


def _families(text: str) -> tuple[str, ...]:
    chosen = names(text)
    for name in chosen or (text,):
        if name not in FAMILIES:
            raise ConfigError(
                f"--family: {name!r} is no family of cases",
                remedy=f"choose from {', '.join(FAMILIES)}",
            )
    return chosen


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_SOAK:
        raise ConfigError(
            f"--soak {text}: a duration up to {LONGEST_SOAK // 3600}h is needed",
            remedy="write it as 90s, 10m or 2h",
        )
    return seconds
