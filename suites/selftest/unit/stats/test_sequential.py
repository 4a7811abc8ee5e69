"""Pairs judged as they come: how often that is wrong, exactly and simulated, and how soon right."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from harness.comparison import baseline_interval, sequential_pairs
from harness.stats import estimates, sequential
from harness.stats.estimates import Floats
from harness.stats.sequential import Shown
from suites.benchmarks import pairs

LEVEL = sequential_pairs.LEVEL
PLANNED = 10

MAGNITUDES: dict[str, Callable[[np.random.Generator], Floats]] = {
    "alike": lambda random: random.normal(0, 0.01, (8, 12)),
    "heavy tails": lambda random: random.standard_t(2, (8, 12)) * 0.01,
    "one figure": lambda random: random.normal(0, 0.01, (8, 1)),
    "the same figure 12 times": lambda random: np.tile(random.normal(0, 0.01, (8, 1)), 12),
    "all of one size": lambda random: random.choice([-0.01, 0.01], (8, 12)),
    "ties and zeros": lambda random: random.choice([-0.01, 0.0, 0.01], (8, 12)),
    "none": lambda _: np.zeros((8, 2)),
    "missing": lambda random: np.where(
        random.random((8, 12)) < 0.15, math.nan, random.normal(0, 0.01, (8, 12))
    ),
    "a block without a pair": lambda random: np.insert(
        random.normal(0, 0.01, (7, 12)), 2, math.nan, axis=0
    ),
}


def every_sign(table: Floats) -> Floats:
    """All that the blocks would as well have shown, if nothing had changed. (Half of it: the
    opposite of each is judged alike.)"""
    half = estimates.signs(len(table))
    return half[half[:, 0] > 0][:, :, None] * table


@pytest.mark.parametrize("kind", MAGNITUDES)
@pytest.mark.parametrize("planned", [8, 10])
def test_over_all_signs_the_level_is_held_exactly(kind: str, planned: int) -> None:
    """No tolerance: of all patterns of signs, those with any false alarm at any look."""
    for seed in range(2):
        worlds = every_sign(MAGNITUDES[kind](np.random.default_rng(seed)))
        alarms = sum(pairs.alarmed(sequential.shown(each, planned, LEVEL)) for each in worlds)
        assert alarms / len(worlds) <= LEVEL


def test_over_all_signs_an_interval_holds_a_truth_that_is_not_zero() -> None:
    """One figure changed, eleven did not: the chance that its interval misses, or that another is
    called different."""
    truth = np.zeros(12)
    truth[3] = 0.02
    worlds = every_sign(MAGNITUDES["alike"](np.random.default_rng(1))) + truth
    found = [sequential.shown(each, 8, LEVEL) for each in worlds]
    assert sum(not each[3].low <= 0.02 <= each[3].high for each in found) <= LEVEL * len(worlds)
    others = [[each for n, each in enumerate(every) if n != 3] for every in found]
    assert sum(map(pairs.alarmed, others)) <= LEVEL * len(worlds)


@pytest.mark.parametrize("planned", range(1, 41))
def test_no_plan_spends_more_than_the_level(planned: int) -> None:
    looks = sequential.looks(np.zeros((planned, 1)), planned, LEVEL)
    spent = sum(look.rejected / look.patterns for look in looks)
    assert spent <= LEVEL
    assert bool(looks) == (planned >= 6), "2 / 2^6 is the first below 5 %"
    assert spent > 0.6 * LEVEL or planned < 6


def test_a_figure_is_decided_by_seven_blocks_and_never_by_fewer_than_six() -> None:
    assert sequential.first(PLANNED, LEVEL) == 7
    assert (sequential.first(6, LEVEL), sequential.first(5, LEVEL)) == (6, None)
    assert sequential.first(30, LEVEL) == 8, "many blocks are planned for noise, not to wait"


@pytest.mark.parametrize("figures", [1, 27, 60, 300])
def test_one_bad_figure_is_told_however_many_there_are(figures: int) -> None:
    """Betting on signs needed 20 x figures, and ten blocks won 2^10 / 2: never, from 27 on."""
    random = np.random.default_rng(figures)
    table = random.normal(0, 0.01 * math.sqrt(2), (PLANNED, figures))
    table[:, 0] += math.log(0.5)
    first = next(
        blocks for blocks, found in sequential.course(table, PLANNED, LEVEL) if found[0].p <= LEVEL
    )
    assert first == 7


def test_five_per_cent_of_one_figure_among_sixty_is_told_where_boots_vary_by_one() -> None:
    found = pairs.power(pairs.normal, 60, False, 60)
    assert len(found.decided_at) >= binom.ppf(0.001, 60, 0.95), found
    assert np.median(found.decided_at) <= 9


def test_many_quiet_figures_are_shown_to_be_unchanged() -> None:
    found = pairs.power(pairs.quiet, 24, False, 40)
    assert found.still > 0.99 and found.settled > 0.9, found


@pytest.mark.parametrize("noise", pairs.NOISES)
@pytest.mark.parametrize(("figures", "shared"), [(1, False), (6, True), (24, False)])
def test_it_is_seldom_wrong_however_often_one_looks(noise: str, figures: int, shared: bool) -> None:
    """`make bench-pairs` has more of it. A right procedure fails one of these in a thousand."""
    wrong = pairs.wrong(pairs.NOISES[noise], np.zeros(figures), shared, 100)
    assert wrong <= binom.isf(0.001, 100, LEVEL)


def test_a_wrong_procedure_would_be_found_out() -> None:
    """The same bound, held against looking after each block with the level of one look."""
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(100):
        table = pairs.table(random, pairs.normal, np.zeros(6), False)
        single = [
            min(estimates.step_down([dict(enumerate(column)) for column in table[:blocks].T]))
            for blocks in range(6, PLANNED + 1)
        ]
        each = min(estimates.sign_flip_p(list(column)) for column in table.T)
        wrong += min(*single, each) <= LEVEL
    assert wrong > binom.isf(0.001, 100, LEVEL)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 5), st.floats(0, 0.05))
def test_p_and_interval_never_contradict(
    seed: int, blocks: int, figures: int, shift: float
) -> None:
    random = np.random.default_rng(seed)
    table = np.round(random.standard_t(3, (blocks, figures)) * 0.01 + shift, 2)
    table[random.random(table.shape) < 0.1] = math.nan
    for _, found in sequential.course(table, PLANNED, LEVEL):
        for each in found:
            assert each.low <= each.high
            if each == Shown():
                continue
            assert (each.p <= LEVEL) == (not each.low <= 0 <= each.high), each


def test_of_one_figure_and_look_it_is_the_exact_interval() -> None:
    data = np.random.default_rng(2).normal(0.03, 0.01, 6)
    (found,) = sequential.shown(data[:, None], 6, LEVEL)
    assert (found.low, found.high) == pytest.approx(estimates.interval(list(data)))
    assert (found.low, found.high) == pytest.approx((data.min(), data.max()))


def test_what_a_look_ruled_out_stays_so() -> None:
    table = np.random.default_rng(3).normal(0.02, 0.02, (PLANNED, 5))
    course = [found for _, found in sequential.course(table, PLANNED, LEVEL)]
    for before, after in pairwise(course):
        for was, now in zip(before, after, strict=True):
            assert now.low >= was.low and now.high <= was.high and now.p <= was.p


def test_blocks_that_contradict_one_another_show_nothing() -> None:
    random = np.random.default_rng(4)
    early = 0.1 + random.normal(0, 0.001, 7)
    late = np.tile([-0.1, 0.1], 30)[:53] - 5 + random.normal(0, 0.001, 53)
    (found,) = sequential.shown(np.append(early, late)[:, None], 60, LEVEL)
    assert found == Shown() or found.low <= found.high


def test_what_does_not_vary_is_decided_at_the_first_look() -> None:
    table = np.column_stack([np.full(7, 0.05), np.zeros(7)])
    changed, same = sequential.shown(table, PLANNED, LEVEL)
    assert (changed.low, changed.high) == pytest.approx((0.05, 0.05)) and changed.p <= LEVEL
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)


def test_more_blocks_are_likely_needed_for_more_figures_and_for_smaller_gaps() -> None:
    needed = [sequential.likely(2, figures, PLANNED, LEVEL, 100) for figures in (1, 12, 60)]
    assert needed == sorted(needed) and needed[0] < needed[-1]
    assert {sequential.likely(gap, 60, PLANNED, LEVEL, 100) for gap in (100, math.inf)} == {7}
    assert sequential.likely(0.01, 1, PLANNED, LEVEL, 100) == 101, "more than anybody makes"


def test_holm_as_published() -> None:
    """Holm 1979: the smallest p is paid for by all, the next by all but one, and none overtakes."""
    assert baseline_interval.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
