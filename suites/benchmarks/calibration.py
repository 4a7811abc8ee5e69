"""The gate's record on real trials: `python -m suites.benchmarks.calibration DIR` reads blocks.csv
in DIR, as test_calibration.py made it, and writes calibration.md and calibration.png beside it.

The same data is judged by our tests, by benchstat's (Mann-Whitney at 5 %, each figure for itself),
each with our margins and without, and by a fixed threshold of 5 % between medians.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu

from harness.comparison import judge, sequential_pairs
from harness.comparison.verdict import Change, margin_of, worsening
from harness.records.boots import Boots, Name
from harness.runs.asked import MAX_BLOCKS
from harness.stats import sequential
from reports.run import style

FILENAME = "blocks.csv"
COLUMNS = ("condition", "comparison", "block", "variant", "path", "workload", "metric", "value")
EQUAL = "equal"
DRAWN = 200
"""Comparisons drawn from blocks of equal configurations."""

DRAWN_REAL = 50
"""And from the blocks of each real slowdown."""

SHIFTS = (0.0, 0.01, 0.03, 0.05, 0.10)
"""By how much all figures of the drawn comparisons are worse, as log ratios."""

_SEED = 20_261_126

Frame = pd.DataFrame


@dataclass(frozen=True)
class Sides:
    """A comparison: one row a block and figure on each side, as reports.run.frames has them."""

    base: Frame
    new: Frame

    def until(self, block: int) -> Sides:
        return Sides(*(side[side["block"] <= block] for side in (self.base, self.new)))


def by_pairs(sides: Sides) -> int | None:
    """Blocks after which `ab` first tells a regression, of all at which one may look; or None."""
    if not by_pairs_alone(sides):  # nothing was ever beyond chance
        return None
    earliest = sequential.first(MAX_BLOCKS, sequential_pairs.LEVEL) or MAX_BLOCKS
    for block in range(earliest - 1, int(sides.base["block"].max()) + 1):
        if any(change.verdict == "regression" for change in primary(sides.until(block))):
            return block + 1
    return None


def by_pairs_alone(sides: Sides) -> int | None:
    """The same test without the margins: is any difference beyond chance, at any look?"""
    return (
        MAX_BLOCKS if any(change.p <= sequential_pairs.LEVEL for change in primary(sides)) else None
    )


def primary(sides: Sides) -> list[Change]:
    """What `ab` makes of the figures that it has to decide."""
    return [
        change for change in sequential_pairs.judge(*_boots(sides), MAX_BLOCKS) if change.primary
    ]


def by_exchange(sides: Sides) -> int | None:
    """`compare`, on the same boots as two runs."""
    return MAX_BLOCKS if any(c.verdict == "regression" for c in _exchanged(sides)) else None


def by_exchange_alone(sides: Sides) -> int | None:
    """The same test without the margins."""
    return MAX_BLOCKS if any(change.p < judge.LEVEL for change in _exchanged(sides)) else None


def _exchanged(sides: Sides) -> list[Change]:
    return [change for change in judge.judge(*_boots(sides)) if change.primary]


def by_mann_whitney(sides: Sides) -> int | None:
    """benchstat's method with our margins: each figure for itself, unpaired, at 5 %."""
    found = any(p < 0.05 and worse > margin for worse, margin, p in _tested(sides))
    return MAX_BLOCKS if found else None


def by_mann_whitney_alone(sides: Sides) -> int | None:
    """benchstat's method as it is."""
    return MAX_BLOCKS if any(p < 0.05 for _, _, p in _tested(sides)) else None


def by_threshold(sides: Sides) -> int | None:
    """Medians that are 5 % worse."""
    return MAX_BLOCKS if any(worse > np.log(1.05) for worse, _, _ in _tested(sides)) else None


def _tested(sides: Sides) -> Iterator[tuple[float, float, float]]:
    """Of each figure: how much worse its median is, as a log ratio, its margin, and Mann and
    Whitney's p."""
    keys = ["path", "workload", "metric"]
    base, new = (side.groupby(keys)["value"] for side in (sides.base, sides.new))
    for key, values in base:
        other, metric = new.get_group(key), str(key[2])
        before, now = float(values.median()), float(other.median())
        ratio = now / before if before else math.inf if now else 1.0
        yield (
            worsening(metric, ratio),
            margin_of(metric).ratio(before + now),
            float(mannwhitneyu(values, other).pvalue),
        )


def _boots(sides: Sides) -> tuple[Boots, Boots]:
    """As nicproof has them."""
    return _by_figure(sides.base), _by_figure(sides.new)


def _by_figure(side: Frame) -> Boots:
    found: dict[Name, dict[int, float]] = {}
    columns = ["path", "workload", "metric", "block", "value"]
    for path, workload, metric, block, value in side[columns].itertuples(index=False, name=None):
        found.setdefault((path, workload, metric), {})[int(block)] = float(value)
    return found


PAIRS = "nicproof ab (pairs)"
METHODS: dict[str, Callable[[Sides], int | None]] = {
    PAIRS: by_pairs,
    "nicproof compare (exchange)": by_exchange,
    "Mann-Whitney, our margins": by_mann_whitney,
    "threshold, 5 %": by_threshold,
}
"""What a gate would do: a regression beyond chance and beyond the margin."""

TESTS: dict[str, Callable[[Sides], int | None]] = {
    "pairs, no margin": by_pairs_alone,
    "exchange, no margin": by_exchange_alone,
    "benchstat's (Mann-Whitney, 5 % each)": by_mann_whitney_alone,
}
"""What is beyond chance for each test, in either direction: where nothing changed, its level."""

EVERY = METHODS | TESTS


def drawn(
    equal: Frame, count: int, worse: float = 0.0, *, exchanged: bool = True
) -> Iterator[Sides]:
    """Comparisons of MAX_BLOCKS blocks each, drawn from real ones of equal configurations, the
    sides of each block `exchanged` or not by lot; every figure of the second is then so much worse.
    """
    random = np.random.default_rng(_SEED)
    halves = dict(list(equal.groupby(["comparison", "block", "variant"])))
    whole = [key[:2] for key in halves if key[2] == "a" and (*key[:2], "b") in halves]
    for _ in range(count):
        chosen = random.choice(len(whole), MAX_BLOCKS, replace=False)
        sides: tuple[list[Frame], list[Frame]] = ([], [])
        for block, number in enumerate(chosen):
            order = "ba" if exchanged and random.random() >= 0.5 else "ab"
            for side, variant in zip(sides, order, strict=True):
                side.append(halves[*whole[number], variant].assign(block=block))
        base, new = (pd.concat(side) for side in sides)
        yield Sides(base, _worsened(new, worse))


def _worsened(frame: Frame, by: float) -> Frame:
    factor = [np.exp(by * np.sign(worsening(metric, 2.0))) for metric in frame["metric"]]
    return frame.assign(value=frame["value"] * factor)


def sides_of(frame: Frame) -> Sides:
    """One comparison, as it was measured."""
    return Sides(*(frame[frame["variant"] == variant] for variant in "ab"))


def injected(blocks: Frame, condition: str, count: int) -> Iterator[Sides]:
    """Comparisons of a real slowdown, of MAX_BLOCKS of its blocks each. (As they were measured they
    end where they were told.)"""
    return drawn(blocks[blocks["condition"] == condition], count, exchanged=False)


@dataclass(frozen=True)
class Verdicts:
    """What the methods said of some comparisons: blocks taken to a regression, None for none."""

    name: str
    decided_at: dict[str, list[int | None]]

    @classmethod
    def of(cls, name: str, comparisons: Iterable[Sides]) -> Verdicts:
        each = list(comparisons)
        decided_at = {method: [tell(sides) for sides in each] for method, tell in EVERY.items()}
        return cls(f"{name}, {len(each)}", decided_at)

    def share(self, method: str) -> float:
        """Of the comparisons, that the method calls a regression: 0 to 1."""
        return float(np.mean([each is not None for each in self.decided_at[method]]))

    def row(self) -> str:
        counts = [
            f"{sum(each is not None for each in decided_at)}"
            for decided_at in self.decided_at.values()
        ]
        took = [each for each in self.decided_at[PAIRS] if each is not None]
        span = f"{min(took)} to {max(took)}, median {np.median(took):g}" if took else ""
        return f"| {self.name} | {' | '.join(counts)} | {span} |"


def synthetic(blocks: Frame) -> list[Verdicts]:
    """One for each of SHIFTS."""
    equal = blocks[blocks["condition"] == EQUAL]
    return [
        Verdicts.of(
            f"all figures {100 * by:.0f} % worse (synthetic)" if by else "equal configurations",
            drawn(equal, DRAWN, by),
        )
        for by in SHIFTS
    ]


def table(verdicts: Iterable[Verdicts]) -> str:
    """Regressions that each method tells, of how many comparisons, as Markdown."""
    lines = [
        f"| of so many comparisons | {' | '.join(EVERY)} | blocks that ab took |",
        f"| --- |{' ---: |' * (len(EVERY) + 1)}",
        *(each.row() for each in verdicts),
    ]
    return "\n".join(lines) + "\n"


def figure(verdicts: Sequence[Verdicts]) -> Figure:
    """How often each method calls a regression, by how large it is."""
    made = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = made.subplots()
    places = range(len(SHIFTS))
    colours = style.path_colours(dict.fromkeys(METHODS, ""))
    for (method, colour), marker in zip(colours.items(), "oDsv", strict=False):
        shares = [100 * each.share(method) for each in verdicts]
        width = 4 if method == PAIRS else 1.5  # to be seen below another of the same shares
        axes.plot(places, shares, marker=marker, color=colour, label=method, ms=5, linewidth=width)
    axes.set_xticks(places, [f"{100 * by:.0f} %" if by else "none" for by in SHIFTS])
    axes.set_xlabel("slowdown of all figures")
    axes.set_ylabel("called a regression, per cent")
    axes.set_title("Who cries wolf, and who hears one?", loc="left", size=10.5, weight="bold")
    axes.legend(frameon=False, fontsize=8)
    return made


SESSION_EFFECTS = (0.0, 0.005, 0.01, 0.02)
"""Standard deviations, as log ratios, by which a session moves each figure of all its boots."""

RUN_BOOTS = 6
"""Of a run that is made as usual."""


def in_sessions(equal: Frame, effect: float, count: int = DRAWN) -> Iterator[Sides]:
    """Pairs of runs of equal configurations, each of which lives in a session of its own: the boots
    are real, and every figure of a run is moved by what its session is drawn to do to it."""
    random = np.random.default_rng(_SEED)
    for sides in drawn(equal, count):
        here = sides.until(RUN_BOOTS - 1)
        yield Sides(*(_moved(side, effect, random) for side in (here.base, here.new)))


def _moved(frame: Frame, effect: float, random: np.random.Generator) -> Frame:
    figures = frame.groupby(["workload", "metric"]).ngroup()
    by = random.normal(0, effect, figures.max() + 1)
    return frame.assign(value=frame["value"] * np.exp(by[figures]))


def sessions(equal: Frame) -> str:
    """What a session of its own for each run does to `compare`, a row an effect."""
    lines = [
        f"| a session moves a figure by, of {DRAWN} comparisons | a regression | beyond chance |",
        "| --- | ---: | ---: |",
    ]
    for effect in SESSION_EFFECTS:
        every = [_exchanged(sides) for sides in in_sessions(equal, effect)]
        decided_at = sum(any(c.verdict == "regression" for c in changes) for changes in every)
        beyond = sum(any(c.p < judge.LEVEL for c in changes) for changes in every)
        lines.append(f"| {100 * effect:g} % | {decided_at} | {beyond} |")
    return "\n".join(lines) + "\n"


def sizes(blocks: Frame) -> str:
    """What the slowdowns really did, and how much a boot varies: a row a figure."""
    keys = ["condition", "path", "workload", "metric"]
    lines = [
        "| condition | figure | a, median | CV of a boot | change of b |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for key, frame in blocks.groupby(keys, sort=False):
        sides = frame.groupby("variant")["value"]
        medians, spread = sides.median(), sides.std() / sides.mean()
        change = 100 * (medians["b"] / medians["a"] - 1) if medians["a"] else float("nan")
        lines.append(
            f"| {key[0]} | {', '.join(map(str, key[1:]))} | {medians['a']:.4g} | "
            f"{100 * spread['a']:.2f} % | {change:+.1f} % |"
        )
    return "\n".join(lines) + "\n"


def main(directory: Path) -> None:
    blocks = pd.read_csv(directory / FILENAME)
    others = [str(name) for name in blocks["condition"].unique() if name != EQUAL]
    made = synthetic(blocks)
    real = [Verdicts.of(name, injected(blocks, name, DRAWN_REAL)) for name in others]
    equal = blocks[blocks["condition"] == EQUAL]
    tables = f"{table([*made, *real])}\n{sessions(equal)}\n{sizes(blocks)}"
    text = f"# What gates and tests tell\n\n{tables}"
    (directory / "calibration.md").write_text(text)
    figure(made).savefig(directory / "calibration.png", dpi=150, metadata={"Software": None})
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
