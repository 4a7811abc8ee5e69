"""The statistics of the report against known values, an independent library, and simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from harness.stats import estimates

numbers = st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=6, max_size=9)
counts = st.lists(st.integers(0, 50), min_size=6, max_size=8)


def by_block(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def test_hodges_lehmann_of_a_worked_example() -> None:
    # Walsh averages of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6; their median is 2.75.
    assert estimates.hodges_lehmann([1, 2, 6]) == 2.75
    assert estimates.hodges_lehmann([5.0]) == 5.0


def test_hodges_lehmann_ignores_one_wild_value() -> None:
    assert estimates.hodges_lehmann([10, 11, 9, 10, 10, 1000]) < 12


def test_six_blocks_of_one_sign_give_the_least_p() -> None:
    assert estimates.sign_flip_p([0.3, 0.1, 0.2, 0.5, 0.4, 0.2]) == pytest.approx(2 / 64)
    assert estimates.sign_flip_p([0.3, 0.1, 0.2, 0.5, 0.4]) == pytest.approx(2 / 32)
    assert estimates.sign_flip_p([0.0] * 6) == 1.0


@given(samples)
def test_p_is_that_of_scipy(values: list[float]) -> None:
    all_signs = 2 ** len(values)
    theirs = permutation_test(
        (np.array(values),), np.sum, permutation_type="samples", n_resamples=all_signs
    )
    assert estimates.sign_flip_p(values) == pytest.approx(float(theirs.pvalue))


@given(samples, st.floats(0.02, 0.98))
def test_interval_holds_just_what_the_test_does_not_reject(
    values: list[float], place: float
) -> None:
    low, high = estimates.interval(values)
    width = max(values) - min(values) + 1
    inside, outside = low + place * (high - low), high + place * width
    assert estimates.sign_flip_p([v - inside for v in values]) > estimates.ALPHA
    assert estimates.sign_flip_p([v - outside for v in values]) <= estimates.ALPHA


def test_interval_of_six_is_the_range_and_of_five_is_unbounded() -> None:
    assert estimates.interval([4, 1, 3, 9, 2, 7]) == (1, 9)
    assert estimates.interval([4, 1, 3, 9, 2]) == (-math.inf, math.inf)


@given(samples, numbers)
def test_estimates_move_with_the_data(values: list[float], shift: float) -> None:
    moved = [v + shift for v in values]
    assert estimates.hodges_lehmann(moved) == pytest.approx(
        estimates.hodges_lehmann(values) + shift, abs=1e-6
    )
    assert estimates.interval(moved) == pytest.approx(
        tuple(bound + shift for bound in estimates.interval(values)), abs=1e-6
    )


def test_more_blocks_than_can_be_enumerated_are_sampled_alike() -> None:
    values = list(np.random.default_rng(3).normal(1, 1, 30))
    low, high = estimates.interval(values)
    assert low < estimates.hodges_lehmann(values) < high
    assert high - low < 2 * 2.6 / math.sqrt(30)
    assert estimates.sign_flip_p(values) < 0.001
    assert estimates.interval(values) == (low, high), "seeded: the same every time"


@given(counts, counts, st.sampled_from([1.0, 0.9]))
def test_swapping_the_sides_turns_every_difference(
    left: list[int], right: list[int], bound: float
) -> None:
    a, b = by_block([float(v) for v in left]), by_block([float(v) for v in right])
    forth, back = estimates.paired(a, b, bound), estimates.paired(b, a, 1 / bound)
    assert list(forth.differences.values()) == pytest.approx(
        [-d for d in back.differences.values()]
    )
    assert forth.low <= forth.ratio <= forth.high


def test_a_ratio_of_positive_values_is_geometric() -> None:
    result = estimates.paired(by_block([2, 4, 8, 16, 32, 64]), by_block([1, 2, 4, 8, 16, 32]))
    assert (result.ratio, result.low, result.high) == pytest.approx((2, 2, 2))


def test_no_exits_at_all_are_fewer_than_some_without_a_logarithm_of_zero() -> None:
    result = estimates.paired(by_block([0.0] * 6), by_block([0.1, 0.2, 0.1, 0.3, 0.1, 0.2]))
    assert (result.ratio, result.low, result.high) == (0, 0, 0)
    assert estimates.step_down([result.differences]) == [pytest.approx(2 / 64)]


def test_one_zero_among_counts_and_two_zeros_in_a_block() -> None:
    one = estimates.paired(by_block([0, 1, 1, 1, 1, 1]), by_block([2.0] * 6))
    assert one.low == 0 and one.ratio == pytest.approx(0.5)
    ties = estimates.paired(by_block([0.0] * 6), by_block([0.0] * 6))
    assert ties.ratio == 1 and estimates.step_down([ties.differences]) == [1.0]
    swapped = estimates.paired(by_block([2.0] * 6), by_block([0.0] * 6))
    assert swapped.ratio == math.inf


def test_only_blocks_with_both_are_paired() -> None:
    result = estimates.paired({0: 1.0, 1: 2.0, 5: 9.0}, {1: 1.0, 2: 7.0, 5: 3.0})
    assert list(result.differences) == [1, 5]
    with pytest.raises(ValueError):
        estimates.paired({0: 1.0}, {1: 1.0})


def test_six_blocks_suffice_for_many_clear_comparisons_at_once() -> None:
    random = np.random.default_rng(1)
    family = [by_block(list(random.normal(1, 0.15, 6))) for _ in range(20)]
    assert max(estimates.step_down(family)) < estimates.ALPHA


def test_step_down_is_monotone_and_never_below_the_plain_p() -> None:
    random = np.random.default_rng(2)
    family = [by_block(list(random.normal(mean, 1, 7))) for mean in (0, 0.5, 1, 2, 4)]
    adjusted = estimates.step_down(family)
    plain = [estimates.sign_flip_p(list(d.values())) for d in family]
    assert all(a >= p - 1e-12 for a, p in zip(adjusted, plain, strict=True))
    strength = [abs(sum(d.values())) / math.sqrt(sum(v * v for v in d.values())) for d in family]
    ordered = [p for _, p in sorted(zip(strength, adjusted, strict=True), reverse=True)]
    assert all(a <= b for a, b in pairwise(ordered))


def test_a_comparison_passes_no_sooner_than_a_stronger_one() -> None:
    stronger = by_block([1, 1, 1, 1, 1, -0.1])  # T = 2.19, one block against: 4 of 64 flips
    weaker = by_block([1, 0.2, 0.2, 0.2, 0.2, 0.2])  # T = 1.83, alone 2 of 64
    assert estimates.step_down([weaker, stronger]) == pytest.approx([4 / 64, 4 / 64])


@pytest.mark.parametrize("blocks", [6, 8, 10])
def test_simulated_chance_of_any_false_verdict_is_within_the_level(blocks: int) -> None:
    """Paths that do not differ, compared in chains as the claims do, with drift between blocks."""
    random = np.random.default_rng(blocks)
    runs, alarms = 400, 0
    for _ in range(runs):
        logs = random.normal(0, 0.1, (4, blocks)) + random.normal(0, 0.3, blocks)
        family = [by_block(list(logs[i] - logs[j])) for i, j in ((0, 1), (0, 2), (1, 3), (2, 3))]
        family.append(by_block(list(random.normal(1, 0.1, blocks))))  # one that does differ
        alarms += min(estimates.step_down(family)[:4]) < estimates.ALPHA
    # Three standard deviations of a 5 % rate over 400 runs.
    assert alarms / runs < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("boots", [6, 10])
def test_simulated_coverage_of_the_interval(boots: int) -> None:
    random = np.random.default_rng(boots)
    draws = random.normal(5, 1, (600, boots))
    held = [low <= 5 <= high for low, high in (estimates.interval(list(row)) for row in draws)]
    assert np.mean(held) > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 600)


def test_an_estimate_of_few_boots_is_a_range_and_says_so() -> None:
    few, enough = estimates.estimate([3, 1, 2, 9, 4]), estimates.estimate([3, 1, 2, 9, 4, 5])
    assert (few.low, few.high, few.indicative) == (1, 9, True)
    assert not enough.indicative


def test_the_patterns_of_a_count_of_boots_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report has hundreds of estimates of the same count."""
    drawn = []
    ours = np.random.default_rng

    def counting(seed: int) -> np.random.Generator:
        drawn.append(seed)
        return ours(seed)

    monkeypatch.setattr(np.random, "default_rng", counting)
    random = ours(7)
    for _ in range(20):
        values = [float(value) for value in random.normal(5, 1, 23)]
        low, high = estimates.interval(values)
        assert (
            low < estimates.hodges_lehmann(values) < high and estimates.sign_flip_p(values) < 0.01
        )
    assert len(drawn) <= 1


@pytest.mark.parametrize("count", [6, 9, 14, 15, 40])
def test_an_interval_has_the_ends_that_its_definition_gives(count: int) -> None:
    """Hartigan's, from the whole sorted list of the subsets' means."""
    values = np.random.default_rng(count).lognormal(0, 0.3, count)
    flipped = (estimates.signs(count) < 0)[1:]
    flipped = flipped[flipped.any(axis=1)]
    means = sorted(float(values[row].mean()) for row in flipped)
    rank = math.floor((len(means) + 1) * estimates.ALPHA / 2)
    expected = (means[rank - 1], means[-rank])
    assert estimates.interval([float(v) for v in values]) == pytest.approx(expected, rel=1e-12)
