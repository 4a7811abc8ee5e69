"""The verdict on a run beside another, figure by figure. Numbers in, data out; nothing is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from harness.errors import ConfigError
from harness.measure.record import IDLE
from reports import shifts
from reports.frames import Run, exits_per_boot, metric_of
from reports.shifts import Shift

Verdict = Literal["regression", "improvement", "no change", "undecided"]

LEVEL = 0.01
"""The chance that a gate on two equal configurations calls any primary figure changed."""

MARGINS = {"throughput": 0.03, "rtt_p50": 0.03, "exits_per_packet": 0.10}
"""The primary metrics, with the relative change that is still none. Fewer than these are compared
fairly: each further one costs power."""

OTHER_MARGIN = 0.10

MOST_BOOTS = 100
"""More than so many boots are no advice."""


@dataclass(frozen=True)
class Change:
    """One metric of one path and workload in two runs. `p` is adjusted for the comparisons made."""

    path: str
    workload: str
    metric: str
    primary: bool
    base: float  # medians over boots
    new: float
    shift: Shift
    p: float
    verdict: Verdict
    why: str  # of an undecided one
    exits: tuple[str, ...] = ()  # what changed in the exits of this path, most first

    @property
    def worse(self) -> float:
        """The change in the bad direction, as a log ratio: above 0 is worse."""
        return worsening(self.metric, self.shift.ratio)


def worsening(metric: str, ratio: float) -> float:
    """log(ratio), turned so that above 0 is worse."""
    log = math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 1)
    return -log if metric_of(metric).better == "higher" else log


def judge(base: pd.DataFrame, new: pd.DataFrame) -> tuple[Change, ...]:
    """Every figure that both runs have, the worst first; the frames are frames.per_boot of them.

    The primary ones are decided together, with the chance of any false alarm bounded by LEVEL;
    the others with a false discovery rate of LEVEL.
    """
    pairs = list(_pairs(base, new))
    primary = [pair for pair in pairs if pair.metric in MARGINS]
    rest = [pair for pair in pairs if pair.metric not in MARGINS]
    changes = [
        *_decide(primary, _adjusted(primary)),
        *_decide(rest, _discovered([_adjusted([pair])[0] for pair in rest])),
    ]
    return tuple(sorted(changes, key=_badness))


RANK: dict[Verdict, int] = {"regression": 0, "undecided": 1, "improvement": 2, "no change": 3}


def _badness(change: Change) -> tuple[bool, int, float]:
    return not change.primary, RANK[change.verdict], -change.worse


@dataclass(frozen=True)
class _Pair:
    path: str
    workload: str
    metric: str
    base: dict[int, float]  # by block
    new: dict[int, float]


def _pairs(base: pd.DataFrame, new: pd.DataFrame) -> Iterator[_Pair]:
    """The figures of direction that both have, and that are more than zeros."""
    sides = [_by_figure(frame) for frame in (base, new)]
    for key in sides[0]:
        path, workload, metric = key
        if key not in sides[1] or workload == IDLE or metric_of(metric).better == "none":
            continue
        pair = _Pair(path, workload, metric, sides[0][key], sides[1][key])
        if any(pair.base.values()) or any(pair.new.values()):
            yield pair


def _by_figure(boots: pd.DataFrame) -> dict[tuple[str, str, str], dict[int, float]]:
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    columns = ["path", "workload", "metric", "block", "value"]
    for path, workload, metric, block, value in boots[columns].itertuples(index=False, name=None):
        found.setdefault((path, workload, metric), {})[int(block)] = float(value)
    return found


def _adjusted(pairs: Sequence[_Pair]) -> list[float]:
    """Adjusted p, by exchanging blocks between the runs."""
    blocks = [
        sorted({block for pair in pairs for block in getattr(pair, side)})
        for side in ("base", "new")
    ]
    rows = [
        [
            *_row(pair.base, blocks[0], scaled[: len(pair.base)]),
            *_row(pair.new, blocks[1], scaled[len(pair.base) :]),
        ]
        for pair in pairs
        for scaled in [shifts.scaled(list(pair.base.values()), list(pair.new.values()))[0]]
    ]
    return shifts.step_down(np.array(rows, dtype=np.float64), len(blocks[1])) if rows else []


def _row(values: dict[int, float], blocks: Iterable[int], scaled: np.ndarray) -> list[float]:
    by_block = dict(zip(values, scaled, strict=True))
    return [float(by_block.get(block, math.nan)) for block in blocks]


def _discovered(ps: Sequence[float]) -> list[float]:
    return [float(p) for p in false_discovery_control(ps)] if ps else []


def _decide(pairs: Sequence[_Pair], ps: Sequence[float]) -> Iterator[Change]:
    for pair, p in zip(pairs, ps, strict=True):
        base, new = list(pair.base.values()), list(pair.new.values())
        shift = shifts.shift(base, new, 1 - LEVEL)
        margin = math.log1p(MARGINS.get(pair.metric, OTHER_MARGIN))
        verdict, why = _verdict(pair.metric, shift, p, margin)
        yield Change(
            pair.path, pair.workload, pair.metric, pair.metric in MARGINS,
            float(np.median(base)), float(np.median(new)), shift, p, verdict, why,
        )  # fmt: skip


def _verdict(metric: str, shift: Shift, p: float, margin: float) -> tuple[Verdict, str]:
    """A change counts if it is beyond chance and beyond the margin; none is shown if the whole
    interval lies within it."""
    worse = worsening(metric, shift.ratio)
    if p < LEVEL and abs(worse) > margin:
        return ("regression" if worse > 0 else "improvement"), ""
    ends = [abs(worsening(metric, end)) for end in (shift.low, shift.high)]
    if max(ends) <= margin:
        return "no change", ""
    return "undecided", _advice(shift, abs(worse), margin)


def _advice(shift: Shift, size: float, margin: float) -> str:
    """Why it cannot be told, and how many boots a side would do."""
    have = min(shift.boots)
    gap = max(abs(size - margin), margin / 2) if math.isfinite(size) else margin
    needed = max(shifts.boots_needed(shift.scale, gap), fewest(), have + 1)
    noise = f"a boot varies by {100 * shift.scale:.1f} %"
    if needed > MOST_BOOTS:
        return f"too noisy: {noise}"
    return f"{have} boots are too few where {noise}: {needed - have} more of each would decide it"


def fewest() -> int:
    """The fewest boots a side whose exact exchange test can reach LEVEL."""
    count = 1
    while 2 / math.comb(2 * count, count) >= LEVEL:
        count += 1
    return count


KEYS = ("fidelity", "clock", "NIC model", "CPU", "workload parameters")
"""What must be the same in two runs for a comparison to mean anything."""


def fingerprint(run: Run) -> dict[str, str]:
    """KEYS of a run, in words."""
    parameters = sorted(
        {
            f"{trial.workload}: {' '.join(f'{k}={v}' for k, v in sorted(trial.parameters.items()))}"
            for trial in run.counted
            if trial.workload != IDLE
        }
    )
    values = (
        run.info.fidelity,
        run.info.clock,
        run.info.nic.split()[0],
        run.info.environment.get("host", {}).get("CPU", "unknown"),
        "; ".join(parameters),
    )
    return dict(zip(KEYS, values, strict=True))


def check_comparable(base: Run, new: Run, across: Iterable[str]) -> None:
    """ConfigError, with the difference named, if the runs differ in a key other than `across`."""
    allowed = set(across)
    if unknown := allowed - set(KEYS):
        raise ConfigError(
            f"--across {', '.join(sorted(unknown))}: not a key of a run",
            remedy=f"choose from {', '.join(KEYS)}",
        )
    sides = fingerprint(base), fingerprint(new)
    if "workload parameters" not in allowed:
        sides = _of_common_workloads(*sides)
    for key in KEYS:
        if sides[0][key] != sides[1][key] and key not in allowed:
            raise ConfigError(
                f"{base.info.run} and {new.info.run} differ in {key}: {sides[0][key]!r}, "
                f"{sides[1][key]!r}",
                remedy=f"if that is the point of the comparison: --across {key!r}",
            )


def _of_common_workloads(
    base: dict[str, str], new: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Workloads that only one of the runs has are not compared, so they cannot differ."""
    key = "workload parameters"
    lines = [side[key].split("; ") for side in (base, new)]
    names = [{line.partition(":")[0] for line in each} for each in lines]
    common = names[0] & names[1]
    kept = ["; ".join(x for x in each if x.partition(":")[0] in common) for each in lines]
    return {**base, key: kept[0]}, {**new, key: kept[1]}


def exit_changes(base: pd.DataFrame, new: pd.DataFrame, path: str, workload: str) -> Iterator[str]:
    """What changed in a path's exits per packet, the largest change first: "npf 0.8 -> 2.1".

    The frames are frames.exits of the runs. A change below a hundredth of an exit is none.
    """
    sides = []
    for counted in (base, new):
        per_boot = exits_per_boot(counted)
        here = per_boot[(per_boot["path"] == path) & (per_boot["workload"] == workload)]
        sides.append(here.groupby("reason")["per_packet"].median().to_dict())
    reasons = {reason: sides[1].get(reason, 0.0) - sides[0].get(reason, 0.0) for reason in
               {*sides[0], *sides[1]}}  # fmt: skip
    for reason in sorted(reasons, key=lambda reason: -abs(reasons[reason])):
        if abs(reasons[reason]) >= 0.01:
            before, after = (side.get(reason, 0.0) for side in sides)
            yield f"{reason} exits per packet {before:.3g} -> {after:.3g}"
