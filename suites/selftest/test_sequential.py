"""Pairs judged as they come: how often it is wrong, how soon it is right, at any stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import sequential
from reports.regression import paired, predicted

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=1, max_size=12)


def test_wealth_at_most_doubles_with_each_block() -> None:
    assert sequential.wealth([0.5] * 6) == pytest.approx(2**6, rel=1e-3)
    assert sequential.wealth([0.0] * 6) == pytest.approx(1.0)
    assert sequential.wealth([-0.5] * 6) < 0.01


@given(DIFFERENCES, st.floats(-1, 1), st.floats(0.001, 1))
def test_a_higher_centre_has_less_evidence_against_it(
    differences: list[float], centre: float, step: float
) -> None:
    assert sequential.wealth(differences, centre) >= sequential.wealth(differences, centre + step)


@given(DIFFERENCES)
def test_no_bet_wins_on_the_average_of_all_signs(sizes: list[float]) -> None:
    """Exactly fair, whatever the sizes: the mean over every pattern of signs is the stake of 1."""
    sizes = sizes[:8]
    patterns = 1 - 2 * ((np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes))) & 1)
    mean = np.mean([sequential.wealth(list(pattern * sizes)) for pattern in patterns])
    assert mean == pytest.approx(1.0)


def test_it_is_seldom_wrong_however_often_one_looks() -> None:
    """Three figures of equal configurations, looked at after each of 20 blocks: FWER at 5 %."""
    random = np.random.default_rng(3)
    alarms = sum(_alarmed(random.standard_t(3, (20, 3)) * 0.02) for _ in range(300))
    assert alarms / 300 <= 0.05


def _alarmed(table: np.ndarray) -> bool:
    return any(
        max(_judged(table[:blocks])) >= 1 / paired.LEVEL for blocks in range(4, len(table) + 1)
    )


def _judged(table: np.ndarray) -> list[float]:
    return sequential.adjusted([sequential.either_way(list(column)) for column in table.T])


def test_a_quiet_figure_costs_few_blocks_and_a_noisy_one_more() -> None:
    random = np.random.default_rng(4)
    quiet, noisy = (
        np.median([_blocks(random.normal(0.05, noise, 60)) for _ in range(40)])
        for noise in (0.005, 0.06)
    )
    fewest = math.ceil(math.log2(2 / paired.LEVEL))  # wealth at most doubles
    assert quiet <= fewest + 1 < noisy < 40


def _blocks(differences: Sequence[float]) -> int:
    """Blocks until there is evidence enough for a single figure."""
    for count in range(1, len(differences) + 1):
        if sequential.either_way(differences[:count]) >= 1 / paired.LEVEL:
            return count
    return len(differences) + 1


def test_an_interval_holds_the_truth_at_every_number_of_blocks() -> None:
    random = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        differences = random.normal(0.04, 0.02, 15)
        ends = [sequential.interval(differences[:count], 0.05) for count in range(1, 16)]
        missed += any(not low <= 0.04 <= high for low, high in ends)
    assert missed / 200 <= 0.05
    assert ends[3] == (-math.inf, math.inf), "four blocks rule out nothing at 5 %"
    assert ends[-1][1] - ends[-1][0] < 0.1


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8))
def test_adjusted_evidence_lies_between_its_own_and_its_share(evidence: list[float]) -> None:
    for own, adjusted in zip(evidence, sequential.adjusted(evidence), strict=True):
        assert own / len(evidence) <= adjusted * 1.0001 and adjusted <= own


def test_holm_as_published() -> None:
    """Holm 1979: the smallest p is paid for by all, the next by all but one, and none overtakes."""
    assert predicted.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
