"""The report's claims, tested: two paths at a time, paired by block, corrected as one family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from harness.core.facts import PathKind
from harness.core.metrics import Grounds
from harness.records.run import Run
from harness.stats import estimates

Verdict = Literal["supported", "refuted", "undecided"]
Side = Literal["below", "above"]

NEAR = 0.9
"""A throughput is near another if it is shown to be at least this share of it."""

_TCP = ("tcp-tx", "tcp-rx")
_IN_WORDS: dict[PathKind, str] = {"vf": "VF"}


@dataclass(frozen=True)
class Part:
    """One statement of a claim: left / right lies on `side` of `bound`, in each workload."""

    left: PathKind
    right: PathKind
    metric: str
    workloads: tuple[str, ...]
    side: Side = "below"
    bound: float = 1.0


@dataclass(frozen=True)
class Declared:
    """A claim as it was written down before any data."""

    short: str
    title: str
    metric: str
    parts: tuple[Part, ...]


def _ordered(metric: str) -> tuple[Part, ...]:
    return (
        Part("vf", "virtio", metric, _TCP),
        Part("virtio", "emulated", metric, _TCP),
    )


CLAIMS = (
    Declared(
        "Exits per packet: VF < virtio < emulated",
        "A VF needs fewer exits per packet than virtio, and virtio fewer than an emulated NIC.",
        "exits_per_packet",
        _ordered("exits_per_packet"),
    ),
    Declared(
        "Exit time per packet: VF < virtio < emulated",
        "The time spent in exits per packet is in the same order.",
        "exit_time_per_packet",
        _ordered("exit_time_per_packet"),
    ),
    Declared(
        "Latency: VF < virtio, emulated",
        "The median round trip over a VF is shorter than over virtio and over an emulated NIC.",
        "rtt_p50",
        (
            Part("vf", "virtio", "rtt_p50", ("latency",)),
            Part("vf", "emulated", "rtt_p50", ("latency",)),
        ),
    ),
    Declared(
        "Throughput: VF near native",
        f"A VF's throughput is near native: at least {NEAR:g} of it, its interval included.",
        "throughput",
        (Part("vf", "native", "throughput", _TCP, "above", NEAR),),
    ),
)


@dataclass(frozen=True)
class Comparison:
    """Two paths under one workload. `ratio` is left / right, with its 95 % interval, or with the
    range of the blocks if they are too few; None if there is no block with both."""

    left: str
    right: str
    workload: str
    metric: str
    side: Side
    bound: float
    blocks: int
    result: estimates.Paired | None
    p: float | None  # of this comparison alone
    adjusted: float | None  # over all comparisons of the claim
    verdict: Verdict
    why: str  # why it is undecided


@dataclass(frozen=True)
class Claim:
    """A claim with its verdict."""

    number: int
    declared: Declared
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    why: str
    grounds: Grounds  # how far its metric may be relied upon in this run


def judge_claims(run: Run, boots: pd.DataFrame) -> tuple[Claim, ...]:
    """Every claim with every comparison that the run's paths allow.

    `boots` is what frames.per_boot gives.
    """
    claims = []
    for index, declared in enumerate(CLAIMS):
        parts = [_compare_part(run, boots, part) for part in declared.parts]
        comparisons = tuple(_judge([comparison for part in parts for comparison in part]))
        gaps = [
            _gap(run, part) for part, found in zip(declared.parts, parts, strict=True) if not found
        ]
        verdict, why = _verdict_of_claim(comparisons, gaps)
        grounds = run.grounds(declared.metric)
        claims.append(Claim(index + 1, declared, comparisons, verdict, why, grounds))
    return tuple(claims)


def _compare_part(run: Run, boots: pd.DataFrame, part: Part) -> list[Comparison]:
    return [
        compare(boots, left, right, workload, part)
        for workload in part.workloads
        if workload in run.workloads
        for left in _comparable(run, part.left)
        for right in _comparable(run, part.right)
    ]


def _comparable(run: Run, kind: PathKind) -> list[str]:
    """Paths of a kind that this host can offer: one it cannot is no argument against a claim."""
    missing = {m.path for m in run.info.missing}
    return [p for p in run.paths if p not in missing and run.path_facts(p).kind == kind]


def compare(boots: pd.DataFrame, left: str, right: str, workload: str, part: Part) -> Comparison:
    """One comparison, not judged yet: its p is adjusted when all are known."""
    first, second = (by_block(boots, path, workload, part.metric) for path in (left, right))
    common = len(first.keys() & second.keys())
    result = estimates.paired(first, second, part.bound) if common else None
    empty = [path for path, values in ((left, first), (right, second)) if not values]
    if empty:
        why = f"{' and '.join(empty)} not measured"
    elif common < estimates.MIN_BLOCKS:
        why = f"{_blocks(common)}, at least {estimates.MIN_BLOCKS} are needed"
    else:
        why = ""
    return Comparison(
        left, right, workload, part.metric, part.side, part.bound, common, result,
        p=estimates.sign_flip_p(list(result.differences.values())) if result else None,
        adjusted=None, verdict="undecided", why=why,
    )  # fmt: skip


def by_block(boots: pd.DataFrame, path: str, workload: str, metric: str) -> dict[int, float]:
    """Block to value; if a block booted a path more than once, the median of those boots."""
    rows = boots[
        (boots["path"] == path) & (boots["workload"] == workload) & (boots["metric"] == metric)
    ]
    values = rows.groupby("block")["value"].median()
    return {int(block): float(value) for block, value in zip(values.index, values, strict=True)}


def _judge(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Decide each comparison of a claim that has enough blocks.

    The claim stands only if all of them hold, so each is held to the level as it is: the chance
    that all pass while one is not so is no larger than that one's (an intersection-union test,
    Berger 1982). But one that goes the other way refutes the claim, so those p are adjusted.
    """
    enough = [
        (index, c.result.differences)
        for index, c in enumerate(comparisons)
        if c.result is not None and c.blocks >= estimates.MIN_BLOCKS
    ]
    adjusted = estimates.step_down([differences for _, differences in enough])
    judged = list(comparisons)
    for (index, _), p in zip(enough, adjusted, strict=True):
        judged[index] = _decide(comparisons[index], p)
    return judged


def _decide(comparison: Comparison, adjusted: float) -> Comparison:
    assert comparison.result is not None and comparison.p is not None
    # The sign of the sum is what the test looked at, so it also tells the direction.
    below = sum(comparison.result.differences.values()) < 0
    holds = below == (comparison.side == "below")
    p, how = (comparison.p, "") if holds else (adjusted, " after adjustment")
    if p >= estimates.ALPHA:
        return replace(comparison, adjusted=adjusted, why=f"p = {p:.2g}{how}")
    return replace(comparison, adjusted=adjusted, verdict="supported" if holds else "refuted")


def _verdict_of_claim(
    comparisons: Sequence[Comparison], gaps: Sequence[str]
) -> tuple[Verdict, str]:
    """A claim stands if each of its comparisons does, and falls with any of them."""
    refuted = [c for c in comparisons if c.verdict == "refuted"]
    if refuted:
        names = ", ".join(f"{c.left} / {c.right} ({c.workload})" for c in refuted)
        side = "above" if refuted[0].side == "below" else "below"
        total = f"{len(refuted)} of {len(comparisons)} ratios"
        return "refuted", f"{total} lie {side} {refuted[0].bound:g}: {names}"
    open_ = [c for c in comparisons if c.verdict == "undecided"]
    if not open_ and not gaps:
        return "supported", f"all {len(comparisons)} comparisons agree"
    reasons = list(dict.fromkeys(gaps))
    if open_ and len({c.why for c in open_}) == 1:
        reasons.append(open_[0].why)
    elif open_:
        reasons.append(f"{len(open_)} of {len(comparisons)} comparisons are undecided")
    return "undecided", "; ".join(reasons)


def _gap(run: Run, part: Part) -> str:
    """What the run lacks for a part of a claim to be tested at all."""
    if not set(part.workloads) & set(run.workloads):
        return f"no {' or '.join(part.workloads)} in this run"
    lacking = [
        _IN_WORDS.get(kind, kind) for kind in (part.left, part.right) if not _comparable(run, kind)
    ]
    return f"no {' and no '.join(lacking)} path in this run"


def _blocks(count: int) -> str:
    return f"{count} block" if count == 1 else f"{count} blocks"
