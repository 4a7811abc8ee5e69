"""What doctor has to say, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["yes", "no", "note"]
Purpose = Literal["nested lab", "passthrough", "SR-IOV", "exit counts", "steady figures"]

GUESTS: tuple[Purpose, ...] = ("passthrough", "SR-IOV")
"""What a host is asked for: both ways of giving a guest hardware."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `needed` says what cannot be had without it; a "no" that nothing needs
    is worth knowing all the same. `remedy` is how to mend it, "" where nothing can be done."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    needed: tuple[Purpose, ...] = ()


def lacking(findings: Iterable[Finding], purpose: Purpose) -> tuple[Finding, ...]:
    """Those that stand in the way of a purpose."""
    return tuple(each for each in findings if each.state == "no" and purpose in each.needed)
