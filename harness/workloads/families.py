"""Workloads that differ in the size of their frames only: a family, and its members by name."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import ConfigError
from harness.core.flags import names as names_in
from harness.workloads import ndr, pps
from harness.workloads.base import Sizes

FAMILIES = (pps.FAMILY, ndr.FAMILY)

MEMBERS: tuple[Sizes, ...] = (*pps.PPS, *ndr.NDR)
"""Those of the standard sizes."""

USUAL = ("64", "1518")
"""Sizes of a family that is named without one."""


def sized(name: str) -> Sizes | None:
    """The workload of this name, be its size a standard one or not; None if it is of no family.
    ConfigError for a size that no frame has."""
    return pps.sized(name) or ndr.sized(name)


def checked_sizes(text: str | None) -> tuple[str, ...]:
    """The sizes that --frame-size says, or USUAL; ConfigError for one that is none."""
    sizes = USUAL if text is None else names_in(text)
    for size in sizes or (text or "",):
        if pps.sized(f"{pps.FAMILY}-{size}") is None:
            raise ConfigError(
                f"--frame-size {size}: neither a number of bytes nor imix",
                remedy=f"choose from {', '.join(map(str, pps.STANDARD))}, imix",
            )
    return sizes


def expanded(names: Sequence[str], sizes: Sequence[str]) -> tuple[str, ...]:
    """The names, with a family's replaced by one for each size."""
    return tuple(
        found
        for name in names
        for found in ([f"{name}-{size}" for size in sizes] if name in FAMILIES else [name])
    )
