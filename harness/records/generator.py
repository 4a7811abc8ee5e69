"""Is it the generator that a figure tells of, and not the path? Pure functions."""

from __future__ import annotations

from harness.records.trial import TrialRecord

NEAR = 0.02
"""A path that takes all but this share of what the generator can send has more to give."""

FLAT_OUT = "flat out"
"""TrialRecord.parameters["rate"] of a workload whose generator sends what it can."""


def is_limit(delivered: float, most: float) -> bool:
    """Is a path that delivered so many frames a second held back by its generator, which sends at
    `most` so many?"""
    return delivered >= (1 - NEAR) * most


def held_back(trial: TrialRecord) -> bool:
    """Did the generator send what it could, and did the path take all that?"""
    metrics = trial.metrics
    if "ndr" in metrics:
        return is_limit(metrics["ndr"], metrics["pps_offered"])
    if trial.parameters.get("rate") != FLAT_OUT or "pps" not in metrics:
        return False
    return is_limit(metrics["pps"], metrics["pps_offered"])
