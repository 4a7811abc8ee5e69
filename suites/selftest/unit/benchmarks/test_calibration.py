"""The calibration's arithmetic, on the blocks that were measured (docs/calibration)."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.comparison.outcome import EXCHANGED
from harness.runs.asked import MAX_BLOCKS
from harness.runs.suite import ROOT
from suites.benchmarks import calibration as cal

DOCS = ROOT / "docs" / "calibration"


@pytest.fixture(scope="module")
def blocks() -> pd.DataFrame:
    return pd.read_csv(DOCS / cal.FILENAME)


@pytest.fixture(scope="module")
def equal(blocks: pd.DataFrame) -> pd.DataFrame:
    return blocks[blocks["condition"] == cal.EQUAL]


def test_comparisons_are_drawn_from_whole_blocks_and_repeat(equal: pd.DataFrame) -> None:
    first, again = (list(cal.drawn(equal, 3)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one.base, other.base)
        pd.testing.assert_frame_equal(one.new, other.new)
        assert sorted(one.base["block"].unique()) == list(range(MAX_BLOCKS))
        assert len(one.base) == len(one.new)
        paired = one.base.merge(one.new, on=["comparison", "block", "workload", "metric"])
        assert len(paired) == len(one.base), "the two boots of a block are a pair"
        assert (paired["variant_x"] != paired["variant_y"]).all()
    assert not first[0].base.equals(first[1].base)


def test_a_shift_makes_every_figure_worse_in_its_own_direction(equal: pd.DataFrame) -> None:
    (plain,), (shifted,) = (list(cal.drawn(equal, 1, by)) for by in (0.0, 0.1))
    ratio = shifted.new["value"] / plain.new["value"]
    falls = shifted.new["metric"] == "throughput"
    assert (ratio[falls] < 0.91).all() and (ratio[~falls] > 1.10).all()
    pd.testing.assert_frame_equal(plain.base, shifted.base)


def test_every_real_slowdown_was_found_and_equal_ones_were_not(blocks: pd.DataFrame) -> None:
    """What docs/calibration/calibration.md claims, judged anew by the code of today."""
    conditions = [name for name in blocks["condition"].unique() if name != cal.EQUAL]
    assert len(conditions) == 3
    for name in conditions:
        decided_at = [cal.by_pairs(sides) for sides in cal.injected(blocks, name, 5)]
        assert len(decided_at) == 5 and all(decided_at), f"{name}: {decided_at}"
    equal = blocks[blocks["condition"] == cal.EQUAL]
    assert not any(cal.by_pairs(sides) for sides in cal.drawn(equal, 20))


def test_rivals_are_judged_by_the_same_margins(equal: pd.DataFrame) -> None:
    """Within all margins nobody's gate may call anything, beyond chance as it is; without the
    margins every test finds it."""
    (within,) = cal.drawn(equal, 1, 0.02)
    gates = {method: tell(within) for method, tell in cal.METHODS.items()}
    assert not any(gates.values()), gates
    tests = {method: tell(within) for method, tell in cal.TESTS.items()}
    assert all(tests.values()), tests
    (beyond,) = cal.drawn(equal, 1, 0.2)
    assert all(tell(beyond) for tell in cal.EVERY.values())


def test_a_session_of_its_own_makes_the_gate_cry_wolf(equal: pd.DataFrame) -> None:
    alarms = {
        effect: sum(cal.by_exchange(s) is not None for s in cal.in_sessions(equal, effect, 15))
        for effect in (0.0, 0.05)
    }
    assert alarms[0.0] == 0 and alarms[0.05] > 5
    (moved,) = cal.in_sessions(equal, 0.05, 1)
    (still,) = cal.in_sessions(equal, 0.0, 1)
    ratios = (moved.base["value"] / still.base["value"]).groupby(
        [still.base["workload"], still.base["metric"]]
    )
    assert (ratios.std() < 1e-9).all(), "a session moves all boots of a figure alike"
    assert ratios.mean().nunique() == len(ratios), "and each figure by itself"


def test_compare_tells_what_was_measured_of_sessions() -> None:
    for file in ("calibration.md", "README.md"):
        rows = [line.split(" | ") for line in (DOCS / file).read_text().splitlines()]
        decided_at = {row[0]: row[1] for row in rows if len(row) == 3}
        assert f"{decided_at['| 1 %']} of {cal.DRAWN} comparisons" in EXCHANGED.note
        assert f"where by 2 %, {decided_at['| 2 %']} " in EXCHANGED.note


def test_a_row_says_how_many_and_after_how_many_blocks(equal: pd.DataFrame) -> None:
    verdicts = cal.Verdicts.of("worse", cal.drawn(equal, 2, 0.2))
    assert verdicts.row().startswith(f"| worse, 2 | {'2 | ' * len(cal.EVERY)}")
    assert verdicts.share(cal.PAIRS) == 1
    assert set(verdicts.decided_at[cal.PAIRS]) <= set(range(7, MAX_BLOCKS + 1))
