"""How often a level is said to change that did not, and how often a gate that judges by the last
level cries wolf: `python -m suites.benchmarks.levels DIR` writes levels.md in DIR.

Series are made up here, of noise that real ones may have; nothing is measured. What was done before
stands beside what is done now.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ruptures

from harness.comparison import baseline_interval
from harness.comparison.baseline import FEWEST, LAST
from harness.comparison.verdict import margin_of
from harness.stats.estimates import Floats
from harness.stats.levels import change_points, clipped, levels

NOISE = 0.015
"""Standard deviation of a run, as a log ratio."""

Random = np.random.Generator


def normal(random: Random, count: int) -> Floats:
    return random.normal(0, NOISE, count)


def autoregressive(along: float) -> Callable[[Random, int], Floats]:
    """Neighbouring runs correlate by `along`; the standard deviation of one is NOISE."""

    def made(random: Random, count: int) -> Floats:
        found = normal(random, count)
        for place in range(1, count):
            found[place] = along * found[place - 1] + math.sqrt(1 - along**2) * found[place]
        return found

    return made


def heavy(random: Random, count: int) -> Floats:
    """Student's t with two degrees of freedom: 1 run in 20 is off by more than four times NOISE."""
    return NOISE * random.standard_t(2, count)


def bimodal(random: Random, count: int) -> Floats:
    """1 % of noise, and one run in five is slower by 5 %."""
    return random.normal(0, 0.01, count) - 0.05 * (random.random(count) < 0.2)


def walk(random: Random, count: int) -> Floats:
    """Steps of 1 %, each from the last: it has no level at all."""
    return np.cumsum(random.normal(0, 0.01, count))


NOISES: dict[str, Callable[[Random, int], Floats]] = {
    "normal": normal,
    "neighbours correlate by 0.3": autoregressive(0.3),
    "by 0.5": autoregressive(0.5),
    "by 0.7": autoregressive(0.7),
    "heavy tails (t2)": heavy,
    "bimodal": bimodal,
    "random walk": walk,
}

Search = Callable[[Sequence[float]], Sequence[int]]


def by_pelt(values: Sequence[float]) -> Sequence[int]:
    """Change points as they were found before: PELT at a penalty of 5 s^2 log n, with s from the
    differences of neighbours, which takes runs for independent."""
    signal = np.log(values)
    noise = 1.4826 / math.sqrt(2) * float(np.median(np.abs(np.diff(signal))))
    search = ruptures.KernelCPD(kernel="linear", min_size=3).fit(clipped(signal)[:, np.newaxis])
    found: list[int] = search.predict(pen=5 * noise**2 * math.log(len(signal)))
    return found[:-1]


def false_changes(search: Search, noise: str, count: int, series: int) -> float:
    """Share of flat series of `count` runs in which a change is found."""
    random = np.random.default_rng(count)
    flat = (np.exp(NOISES[noise](random, count)) for _ in range(series))
    return sum(bool(search(list(each))) for each in flat) / series


def steps_found(search: Search, noise: str, count: int, step: float, series: int) -> float:
    """Share of series with a step, at least five runs from either end, in which a change is found
    at most one run from it."""
    random, found = np.random.default_rng(count), 0
    for _ in range(series):
        signal, at = NOISES[noise](random, count), int(random.integers(5, count - 4))
        signal[at:] += math.log1p(step)
        found += any(abs(point - at) <= 1 for point in search(list(np.exp(signal))))
    return found / series


@dataclass(frozen=True)
class Case:
    """A series of so many runs of so many figures, of which the last `since` are 10 % faster."""

    noise: str
    runs: int
    figures: int = 6
    since: int = 0

    def drawn(self, random: Random) -> Floats:
        """A row a figure, the run that is to be judged last."""
        rows = [NOISES[self.noise](random, self.runs + 1) for _ in range(self.figures)]
        made: Floats = np.array(rows)
        if self.since:
            made[:, self.runs - self.since :] += math.log(1.10)
        return np.exp(made)


def last_level(values: Floats) -> Floats:
    return values[levels(list(values))[-1].first :][-LAST:]


def last_runs(values: Floats) -> Floats:
    return values[-LAST:]


def by_prediction(family: Sequence[baseline_interval.Placed]) -> list[float]:
    """As it was judged before: by the prediction interval alone."""
    return baseline_interval.holm([each.p for each in family])


def by_both(family: Sequence[baseline_interval.Placed]) -> list[float]:
    """As it is judged now: the run must be farther off than the baseline's own, too."""
    return [chance.p for chance in baseline_interval.chances(family)]


@dataclass(frozen=True)
class Gate:
    """A way to choose a baseline, and one to judge by it."""

    baseline: Callable[[Floats], Floats]
    adjusted: Callable[[Sequence[baseline_interval.Placed]], list[float]]

    def judged(self, table: Floats) -> tuple[bool, bool, bool]:
        """Is some figure beyond chance in the last run? Is the first one, and beyond its margin, if
        it is slower there by 10 %? By 5 %?"""
        bases = [dict(enumerate(self.baseline(row[:-1]))) for row in table]
        rest = [
            baseline_interval.place(*each) for each in zip(bases[1:], table[1:, -1], strict=True)
        ]

        def beyond_chance(slower: float) -> list[tuple[bool, float]]:
            family = [baseline_interval.place(bases[0], table[0, -1] * (1 - slower)), *rest]
            return [
                (
                    p < baseline_interval.LEVEL and len(each.others) >= FEWEST,
                    abs(math.log(each.shift.ratio)),
                )
                for p, each in zip(self.adjusted(family), family, strict=True)
            ]

        ten, five = (
            called and size > math.log1p(margin_of("throughput").relative)
            for called, size in (beyond_chance(0.10)[0], beyond_chance(0.05)[0])
        )
        return any(called for called, _ in beyond_chance(0.0)), ten, five


BEFORE, NOW = Gate(last_runs, by_prediction), Gate(last_level, by_both)


def record(gate: Gate, case: Case, series: int) -> Floats:
    """Of `series` runs, the shares in which some figure is called changed though none is, and in
    which one that is slower by 10 and by 5 % is."""
    random = np.random.default_rng(case.runs + case.since)
    shares: Floats = np.mean([gate.judged(case.drawn(random)) for _ in range(series)], axis=0)
    return shares


def per_cent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"


LENGTHS = (10, 20, 30, 60)
PLACES = (
    ("10 runs", 10, 0),
    ("20 runs", 20, 0),
    ("60 runs", 60, 0),
    ("40 runs, a step 30 ago", 40, 30),
    ("40 runs, a step 15 ago", 40, 15),
    ("40 runs, a step 10 ago", 40, 10),
    ("40 runs, a step 6 ago", 40, 6),
)
_SEARCHES: dict[str, Search] = {"before": by_pelt, "now": change_points}


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Markdown; the first two columns are words."""
    under = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, under, *rows)) + "\n"


def changes_table(series: int) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for noise in NOISES:
            for when, search in _SEARCHES.items():
                shares = (false_changes(search, noise, count, series) for count in LENGTHS)
                yield noise, when, *map(per_cent, shares)

    return table(("flat series of", "", *(f"{count} runs" for count in LENGTHS)), rows())


def steps_table(series: int) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for step in (0.05, 0.10):
            for noise in ("normal", "by 0.5", "heavy tails (t2)", "bimodal"):
                for when, search in _SEARCHES.items():
                    shares = (steps_found(search, noise, count, step, series) for count in LENGTHS)
                    yield f"+{100 * step:.0f} %, {noise}", when, *map(per_cent, shares)

    return table(("a step of", "", *(f"{count} runs" for count in LENGTHS)), rows())


def gate_table(figures: int, series: int, places: Sequence[tuple[str, int, int]]) -> str:
    def rows() -> Iterator[Sequence[str]]:
        for noise in ("normal", "by 0.5", "heavy tails (t2)", "bimodal", "random walk"):
            for name, runs, since in places:
                case = Case(noise, runs, figures, since)
                message = (record(gate, case, series) for gate in (BEFORE, NOW))
                yield noise, name, *(" / ".join(map(per_cent, shares)) for shares in message)

    return table(("noise", "series", "before", "now"), rows())


TEXT = """\
# Levels of a history, and the gate that judges by the last one

Simulated by `make bench-levels` (suites/benchmarks/levels.py); nothing here was measured. A run
varies by 1.5 %; bimodal: by 1 %, and one run in five is 5 % slower; a random walk: by 1 % from one
run to the next. All figures are per cent.

## Changes that `history plot` draws where there is none

Of {changes} flat series each. "Before" is PELT with a penalty that takes runs for independent. A
random walk has no level: whatever is drawn in it is a description, and no change.

{flat}
## Changes that it finds

Of {changes} series each, with one step at least five runs from either end, found at most one run
from its place.

{found}
## `bench --against`, nominal 5 %

Three figures a cell: runs with nothing changed in which some figure of six is beyond chance, and
runs with one of them slower by 10 % and by 5 % in which that one is beyond chance and beyond the
margin of 3 %. A step is by +10 %, in all figures, so many runs ago. "Before" is the prediction
interval over the last 20 runs; "now" is that over the last level, and a run is called only if all
runs of the baseline but one lie nearer to the rest. Of {runs} runs each.

{six}
The same with 24 figures, of {some} runs each.

{many}"""


def main(directory: Path, changes: int = 300, runs: int = 100, some: int = 100) -> None:
    text = TEXT.format(
        changes=changes,
        runs=runs,
        some=some,
        flat=changes_table(changes),
        found=steps_table(changes),
        six=gate_table(6, runs, PLACES),
        many=gate_table(24, some, PLACES[:2]),
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "levels.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
