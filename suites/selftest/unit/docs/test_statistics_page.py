"""docs/statistics.md: every number on it, worked out by the code that judges runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest

from harness.comparison import judge, sequential_pairs
from harness.comparison.baseline import FEWEST
from harness.core.metrics import METRICS, PRIMARY
from harness.runs.suite import ROOT
from harness.stats import estimates, permutation_test, sequential

PAGE = (ROOT / "docs/statistics.md").read_text()
NAME = ("virtio", "tcp-rx", "throughput")
PLANNED, MOST = 10, 100


def row(*cells: object) -> str:
    return f"\n| {' | '.join(map(str, cells))} |\n"


def boots(side: str) -> list[float]:
    found = re.search(rf"^    {side} +([\d ]+)$", PAGE, re.MULTILINE)
    assert found is not None
    return [float(each) for each in found[1].split()]


def says(text: str) -> bool:
    """On one line or more."""
    return text in " ".join(PAGE.split())


def test_the_example_is_what_the_code_makes_of_it() -> None:
    base, new = boots("base"), boots("new")
    one, other = estimates.estimate(base), estimates.estimate(new)
    assert says(
        f"estimates are {one.value:.0f} (95 % interval {one.low:.0f} to {one.high:.0f}) and "
        f"{other.value:.0f} ({other.low:.0f} to {other.high:.0f})"
    )
    (change,) = judge.judge({NAME: dict(enumerate(base))}, {NAME: dict(enumerate(new))})
    shift, fell = change.shift, 100 * (1 - change.shift.ratio)
    assert says(f"The ratio is {shift.ratio:.3f}: throughput fell by {fell:.1f} %.")
    assert says(f"99 % interval is {shift.low:.3f} to {shift.high:.3f}")
    ways = math.comb(12, 6)
    assert round(change.p * ways) == 2
    assert says(f"Of the {ways} ways") and says(f"p is 2 / {ways} = {change.p:.4f}")
    assert says(f"may be one of {100 * (1 - shift.high):.1f} %")
    assert says(f"The verdict is *{change.verdict}*")


def test_four_boots_are_too_few_for_it() -> None:
    base, new = boots("base")[:4], boots("new")[:4]
    (change,) = judge.judge({NAME: dict(enumerate(base))}, {NAME: dict(enumerate(new))})
    ways = math.comb(8, 4)
    assert round(change.p * ways) == 2
    assert says(f"2 of {ways} ways would be {200 / ways:.1f} %")
    assert says(f'*{change.verdict}*: "{change.why}"')


def test_levels_and_fewest_boots() -> None:
    assert (judge.LEVEL, sequential_pairs.LEVEL, estimates.ALPHA) == (0.01, 0.05, 0.05)
    fewest = judge.fewest()
    assert row(f"{FEWEST} runs of a series", "x").split(" |")[0] in PAGE
    assert f"\n| {fewest} of each side |" in PAGE
    assert says(f"2 of {math.comb(2 * fewest, fewest)} ways is below 1 %")
    assert f"\n| {estimates.MIN_BLOCKS} of each path (the default) |" in PAGE
    assert says(f"2 of {2**estimates.MIN_BLOCKS} patterns is below 5 %")
    first = sequential.first(PLANNED, sequential_pairs.LEVEL)
    assert f"\n| {first} blocks |" in PAGE and says(f"Before block {first} there is nothing")
    assert says(f"it is block {sequential.first(7, sequential_pairs.LEVEL)}.")


def test_planned_looks() -> None:
    import numpy as np

    looks = sequential.looks(np.zeros((PLANNED, 1)), PLANNED, sequential_pairs.LEVEL)
    for look in looks:
        assert row(look.blocks, look.rejected, look.patterns) in PAGE
    assert says(f"Their sum is {100 * sum(each.rejected / each.patterns for each in looks):.1f} %")


def test_margins() -> None:
    for name in PRIMARY:
        metric = METRICS[name]
        assert row(name, metric.margin.describe(metric.unit)) in PAGE


def for_compare(scale: float, gap: float) -> int:
    return max(permutation_test.boots_needed(scale, gap), judge.fewest())


def for_ab(scale: float, gap: float) -> int:
    return sequential.likely(gap / scale, 6, PLANNED, sequential_pairs.LEVEL, MOST)


@pytest.mark.parametrize(
    ("heading", "needed"), [("a boot varies by", for_compare), ("a pair varies by", for_ab)]
)
def test_how_many_boots_it_takes(heading: str, needed: Callable[[float, float], int]) -> None:
    table = PAGE[PAGE.index(f"| {heading} |") :].partition("\n\n")[0] + "\n"
    gaps = [float(each) for each in re.findall(r"(\d+) %", table.splitlines()[0])]
    rows = re.findall(r"^\| ([\d.]+) % \|", table, re.MULTILINE)
    assert len(gaps) == 5 and len(rows) == 4
    for scale in rows:
        counts = [needed(float(scale) / 100, gap / 100) for gap in gaps]
        cells = (f"over {MOST}" if count > MOST else count for count in counts)
        assert row(f"{scale} %", *cells) in table
