"""In which order a run boots its paths: randomised blocks, from a recorded seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Visit:
    """One boot of one path. `boot` counts this path's boots, `block` the rounds over all."""

    block: int
    path: str
    boot: int

    @property
    def id(self) -> str:
        return f"b{self.block}-{self.path}"


def interleave(paths: Sequence[str], boots: int, seed: int) -> tuple[Visit, ...]:
    """`boots` blocks; in each every path comes once, in an order drawn from `seed`.

    Drift of the machine then hits all paths alike, and differences within a block are pairs.
    """
    draw = random.Random(seed)
    visits: list[Visit] = []
    for block in range(boots):
        order = list(paths)
        draw.shuffle(order)
        visits.extend(Visit(block, path, block) for path in order)
    return tuple(visits)
