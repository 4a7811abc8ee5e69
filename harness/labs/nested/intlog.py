"""What QEMU's log of interrupts (`log int`) says of interrupts that no CPU may get."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

DELIVERY = re.compile(r"\s*\d+: v=([0-9a-f]{2}) e=[0-9a-f]{4} i=([01]) ")
"""Begins a delivery: its vector, and whether an INT instruction asked for it (i=1)."""

FLAGS = re.compile(r"\b[ER]FL=([0-9a-f]{8}) ")
"""In the dump of the CPU that follows, as it was before the delivery."""

FIRST_INTERRUPT = 0x20
"""Vectors below are exceptions, which ask for no permission."""

IF = 1 << 9
"""RFLAGS.IF: the CPU takes interrupts."""


@dataclass(frozen=True)
class Deliveries:
    """How many interrupts were delivered, and the vectors of those that came while IF was clear."""

    count: int
    forbidden: tuple[int, ...]


def deliveries(log: Iterable[str]) -> Deliveries:
    """Count the external interrupts among the lines of a log."""
    count = 0
    forbidden = []
    vector: int | None = None
    for line in log:
        if found := DELIVERY.match(line):
            vector = int(found[1], 16)
            if found[2] == "1" or vector < FIRST_INTERRUPT:
                vector = None
        elif vector is not None and (flags := FLAGS.search(line)):
            count += 1
            if not int(flags[1], 16) & IF:
                forbidden.append(vector)
            vector = None
    return Deliveries(count, tuple(forbidden))
