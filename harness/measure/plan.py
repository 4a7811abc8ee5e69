"""In which order a run boots its paths: randomised blocks, from a recorded seed."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from harness.records.trial import IDLE, TrialRecord


@dataclass(frozen=True)
class PlannedBoot:
    """One boot of one path in one configuration. `boot` counts its boots, `block` the rounds over
    all."""

    block: int
    path: str
    boot: int
    variant: str = ""  # of several configurations: which; "" where there is one

    @property
    def place(self) -> str:
        """Path and configuration, as a run tells of them."""
        return f"{self.path} {self.variant}".strip()

    @property
    def warms_up(self) -> bool:
        """Is its very first trial, the path's first of all, made once before, as a warm-up?"""
        return self.boot == 0

    @property
    def id(self) -> str:
        return "-".join(part for part in (f"b{self.block}", self.path, self.variant) if part)


def interleave(
    paths: Sequence[str], boots: int, seed: int, variants: Sequence[str] = ("",)
) -> tuple[PlannedBoot, ...]:
    """`boots` blocks; in each every path comes once in every configuration, in an order drawn from
    `seed`.

    Drift of the machine then hits all paths alike, and differences within a block are pairs.
    """
    draw = random.Random(seed)
    planned_boots: list[PlannedBoot] = []
    for block in range(boots):
        order = list(product(paths, variants))
        draw.shuffle(order)
        planned_boots.extend(PlannedBoot(block, path, block, variant) for path, variant in order)
    return tuple(planned_boots)


Made = Collection[tuple[str, str, int, str]]
"""Trials that there are: path, configuration, block, workload."""


def made_of(trials: Iterable[TrialRecord]) -> Made:
    """Those that count. What the rig or a tool spoilt is to be made again."""
    return frozenset(
        (each.path, each.variant, each.block, each.workload)
        for each in trials
        if each.valid and not each.warmup
    )


def is_made(made: Made, planned: PlannedBoot, workload: str) -> bool:
    """Is there such a trial of this boot?"""
    return (planned.path, planned.variant, planned.block, workload) in made


def trials_of(planned: PlannedBoot, workloads: Sequence[str], *, has_guest: bool) -> list[str]:
    """The workloads of a boot's trials, in order: a guest's baseline first; a path's very first
    trial is made twice, since that is its warm-up."""
    warm_up = workloads[:1] if planned.warms_up else ()
    return [*([IDLE] if has_guest else []), *warm_up, *workloads]
