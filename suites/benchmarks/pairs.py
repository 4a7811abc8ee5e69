"""Does the procedure of `ab` hold its level, and has it power? Simulated, since real configurations
that are equal, or differ by what one knows, are not to be had by the thousand.

`python -m suites.benchmarks.pairs DIR` writes pairs.md into DIR: `make bench-pairs`. Boots follow
one another in time, two a block, in an order drawn by lot, as in `nicproof ab`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.comparison.sequential_pairs import LEVEL
from harness.runs.asked import MAX_BLOCKS
from harness.stats import sequential
from harness.stats.estimates import Floats
from harness.stats.sequential import Shown

SPREAD = 0.01
"""A boot's standard deviation as a log ratio (of t2, which has none, its scale)."""

CHANGE = 0.05
MARGIN = np.log(1.03)  # of throughput and round trips
SIZES = (1, 6, 24, 60)
LEVEL_RUNS, POWER_RUNS = 200, 50
_SEED = 20_261_128
_CORRELATION = 0.95

Noise = Callable[[np.random.Generator, int, int], Floats]
"""Boots in their order x figures: log values; of counts, the counts."""


def normal(random: np.random.Generator, boots: int, figures: int) -> Floats:
    return random.normal(0, SPREAD, (boots, figures))


def quiet(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """As steady as most figures of the lab are, beside their margins (docs/calibration)."""
    return normal(random, boots, figures) / 2


def heavy(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """Student's t with two degrees of freedom: without a variance."""
    return SPREAD * random.standard_t(2, (boots, figures))


def drifting(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """All grow by twice their noise from boot to boot."""
    return normal(random, boots, figures) + 2 * SPREAD * np.arange(boots)[:, None]


def remembering(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """AR(1): nine tenths of a boot's deviation are left in the next one."""
    found = normal(random, boots, figures)
    for boot in range(1, boots):
        found[boot] = 0.9 * found[boot - 1] + np.sqrt(1 - 0.9**2) * found[boot]
    return found


def tied(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """Rounded to whole per cents, so that most differences are equal to others, or zero."""
    return np.round(normal(random, boots, figures), 2)


def counted(random: np.random.Generator, boots: int, figures: int) -> Floats:
    """Few events a boot, often none."""
    return random.poisson(0.7, (boots, figures)).astype(np.float64)


NOISES: dict[str, Noise] = {
    "normal": normal,
    "normal, of 0.5 %": quiet,
    "heavy tails (t2)": heavy,
    "drift": drifting,
    "AR(1), 0.9": remembering,
    "ties": tied,
    "counts with zeros": counted,
}


def table(
    random: np.random.Generator, noise: Noise, truth: Floats, shared: bool, blocks: int = MAX_BLOCKS
) -> Floats:
    """Differences of b and a, blocks x figures, about the `truth`, which has one a figure. What is
    `shared` is nearly the same in all figures."""
    boots = noise(random, 2 * blocks, len(truth))
    if shared:
        common = noise(random, 2 * blocks, 1)
        own = np.sqrt(1 - _CORRELATION**2)
        boots = common + boots if noise is counted else _CORRELATION * common + own * boots
    first, second = boots[::2], boots[1::2]
    forth = np.where(random.random((blocks, 1)) < 0.5, 1.0, -1.0)
    return forth * _difference(second, first, noise) + truth


def _difference(left: Floats, right: Floats, noise: Noise) -> Floats:
    """As stats.paired has it: of counts relative to their mean."""
    if noise is counted:
        return (left - right) / np.maximum(left + right, 1.0)
    return left - right


def alarmed(found: Iterable[Shown]) -> bool:
    """Is any figure called different, its margin apart?"""
    return any(each.p <= LEVEL for each in found)


def missed(found: Iterable[Shown], truth: Floats) -> bool:
    """Is any interval beside the truth?"""
    return any(
        not each.low <= centre <= each.high for each, centre in zip(found, truth, strict=True)
    )


def wrong(noise: Noise, truth: Floats, shared: bool, runs: int, seed: int = _SEED) -> int:
    """Of so many comparisons, those with any interval beside its truth at any look: where nothing
    changed, those with a false alarm."""
    random = np.random.default_rng(seed)
    return sum(
        missed(sequential.shown(table(random, noise, truth, shared), MAX_BLOCKS, LEVEL), truth)
        for _ in range(runs)
    )


@dataclass(frozen=True)
class Power:
    """Of comparisons in which the first of the figures is worse by CHANGE."""

    decided_at: list[int]  # blocks until that was told, of each comparison in which it was
    runs: int
    still: float  # of the others: the share that is shown not to have changed
    settled: float  # of the comparisons: the share in which all figures were decided


def power(noise: Noise, figures: int, shared: bool, runs: int, seed: int = _SEED) -> Power:
    random, truth = np.random.default_rng(seed), np.zeros(figures)
    truth[0] = CHANGE
    decided_at, still, settled = [], [], 0
    for _ in range(runs):
        differences = table(random, noise, truth, shared)
        every = list(sequential.course(differences, MAX_BLOCKS, LEVEL))
        decided_at += [n for n, found in every if found[0].p <= LEVEL][:1]
        within = [max(-each.low, each.high) <= MARGIN for each in every[-1][1][1:]]
        still += within
        settled += all(within) and every[-1][1][0].p <= LEVEL
    return Power(decided_at, runs, float(np.mean(still)) if still else 1.0, settled / runs)


def _kinds() -> Iterator[tuple[int, bool]]:
    """Numbers of figures, and whether they share their noise."""
    return ((figures, shared) for figures in SIZES for shared in (False, True)[:figures])


def _named(figures: int, shared: bool) -> str:
    return f"{figures}, dependent" if shared else f"{figures}"


def levels() -> str:
    """False alarms, of LEVEL_RUNS comparisons of equal configurations."""
    kinds = list(_kinds())
    return _table(("noise", *(_named(*kind) for kind in kinds)), map(level_row, NOISES))


def level_row(name: str) -> list[str]:
    noise = NOISES[name]
    counts = (wrong(noise, np.zeros(figures), shared, LEVEL_RUNS) for figures, shared in _kinds())
    return [name, *map(str, counts)]


def coverage() -> str:
    """Comparisons with any wrong interval, of LEVEL_RUNS, where figures did change."""
    rows = (coverage_row(noise, share) for noise in COVERED for share in CHANGED)
    return _table(("noise, figures that changed", *map(str, SIZES[1:])), rows)


COVERED = ("normal", "heavy tails (t2)")
CHANGED = {0.5: "half", 1.0: "all"}


def coverage_row(name: str, share: float) -> list[str]:
    counts = (
        wrong(NOISES[name], _changed(figures, share), False, LEVEL_RUNS) for figures in SIZES[1:]
    )
    return [f"{name}, {CHANGED[share]}", *map(str, counts)]


def _changed(figures: int, share: float) -> Floats:
    truth = np.random.default_rng(figures).uniform(-0.1, 0.1, figures)
    truth[round(share * figures) :] = 0
    return truth


POWERED = tuple(name for name in NOISES if name != "counts with zeros")  # 5 % of a count is none


def powers() -> str:
    """What is told where one figure is worse by CHANGE, a row a kind of comparison."""
    head = (
        "noise", "figures", "the bad one told", "blocks, median (90 %)", "others shown unchanged",
        "all decided",
    )  # fmt: skip
    return _table(head, (row for name in POWERED for row in power_rows(name)))


def power_rows(name: str) -> list[list[str]]:
    return [_power_row(name, figures, shared) for figures, shared in _kinds()]


def _power_row(name: str, figures: int, shared: bool) -> list[str]:
    found = power(NOISES[name], figures, shared, POWER_RUNS)
    took = (
        f"{np.median(found.decided_at):g} ({np.percentile(found.decided_at, 90):g})"
        if found.decided_at
        else ""
    )
    return [
        name,
        _named(figures, shared),
        f"{100 * len(found.decided_at) / found.runs:.0f} %",
        took,
        f"{100 * found.still:.0f} %" if figures > 1 else "",
        f"{100 * found.settled:.0f} %",
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(
        f"| {' | '.join(row)} |\n" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)
    )


def report() -> str:
    return (
        "# Level and power of ab's test\n\n"
        f"False alarms of {LEVEL_RUNS} comparisons of equal configurations, by the number of "
        f"figures, at {100 * LEVEL:g} %:\n\n{levels()}\n"
        f"Comparisons of {LEVEL_RUNS} with any interval beside its truth, of so many independent\n"
        f"figures, those that changed by up to 10 % either way:\n\n{coverage()}\n"
        f"One figure worse by {100 * CHANGE:g} %, a boot varying by {100 * SPREAD:g} % if nothing "
        f"else is said, {POWER_RUNS} comparisons a row, {MAX_BLOCKS} blocks at most:\n\n"
        f"{powers()}"
    )


def main(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pairs.md").write_text(report())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
