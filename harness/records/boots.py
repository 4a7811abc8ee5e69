"""A run's figures by block: what a comparison rests on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from harness.records.ratios import values_of
from harness.records.run import Run

Name = tuple[str, str, str]
"""Path, workload, metric."""

Boots = Mapping[Name, Mapping[int, float]]
"""Figure to block to value, in order."""


def boots_of(run: Run) -> Boots:
    """A boot is one number: the median over its valid trials, warm-ups apart. If a block booted a
    path more than once, the last of those boots stands for it."""
    found: dict[Name, dict[tuple[int, int], list[float]]] = {}
    for trial in run.counted:
        place = trial.block, trial.boot
        for metric, value in values_of(trial).items():
            of = found.setdefault((trial.path, trial.workload, metric), {})
            of.setdefault(place, []).append(value)
    return {
        name: {block: statistics.median(of[block, boot]) for block, boot in sorted(of)}
        for name, of in sorted(found.items())
    }
