"""Levels of a series, and a gate that judges by the last one: what is there is found, what is not
there is not, and how often that goes wrong is bounded. Bounds are binomial: a share that is as
documented passes 999 of 1,000 times, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from harness.comparison import baseline_interval
from harness.stats.estimates import Floats
from harness.stats.levels import FEWEST, change_points, levels
from suites.benchmarks.levels import NOW, Case, false_changes, record, steps_found

SERIES = 200


def most(share: float, of: int) -> float:
    """The largest share that is seen where `share` is true, 999 times of 1,000."""
    return float(binom.ppf(0.999, of, share)) / of


def least(share: float, of: int) -> float:
    return float(binom.ppf(0.001, of, share)) / of


@pytest.mark.parametrize("count", [10, 30, 60])
@pytest.mark.parametrize(
    ("noise", "share"),
    [("normal", 0.02), ("by 0.5", 0.05), ("by 0.7", 0.07), ("heavy tails (t2)", 0.05),
     ("bimodal", 0.05)],
)  # fmt: skip
def test_flat_series_seldom_show_a_change(noise: str, share: float, count: int) -> None:
    assert false_changes(change_points, noise, count, SERIES) <= most(share, SERIES)


@pytest.mark.parametrize(
    ("noise", "count", "step", "share"),
    [("normal", 30, -0.05, 0.95), ("normal", 60, 0.05, 0.97), ("by 0.5", 30, 0.10, 0.98),
     ("heavy tails (t2)", 30, 0.10, 0.93)],
)  # fmt: skip
def test_a_step_is_found_where_it_is(noise: str, count: int, step: float, share: float) -> None:
    assert steps_found(change_points, noise, count, step, SERIES) >= least(share, SERIES)


def noisy(count: int, seed: int) -> Floats:
    return 900 * np.exp(np.random.default_rng(seed).normal(0, 0.015, count))


def test_each_of_several_steps_is_found() -> None:
    found = 0
    for seed in range(100):
        values = noisy(60, seed)
        for at, by in ((12, 1.10), (24, 0.92), (36, 1.06), (48, 0.94)):
            values[at:] *= by
        points = change_points(list(values))
        found += all(any(abs(point - at) <= 1 for point in points) for at in (12, 24, 36, 48))
    assert found >= 85


def test_a_level_that_came_and_went_is_found() -> None:
    values = noisy(30, 1)
    values[12:16] *= 1.10
    assert change_points(list(values)) == (12, 16)


def test_one_run_that_is_off_is_no_change() -> None:
    values = noisy(30, 5)
    values[12] *= 1.3
    assert change_points(list(values)) == ()


def test_figures_that_repeat_exactly_show_steps_only() -> None:
    assert change_points([100.0] * 10 + [100.1] * 10) == ()
    assert change_points([100.0] * 10 + [103.0] * 10) == (10,)
    assert change_points([0.0] * 20) == ()
    assert change_points([0.0] * 10 + [0.8] * 10) == (10,), "zero has no logarithm"


def test_too_few_runs_show_nothing() -> None:
    values = [100.0] * (FEWEST // 2) + [200.0] * (FEWEST // 2)
    assert change_points(values) == (FEWEST // 2,)
    assert change_points(values[1:]) == ()
    assert levels([]) == ()


GATES = 100


@pytest.mark.parametrize("since", [0, 15, 8])
def test_the_gate_sees_a_regression_after_a_step_and_little_else(since: int) -> None:
    false, ten, _ = record(NOW, Case("normal", 40, 4, since), GATES)
    assert false <= most(0.05, GATES)
    assert ten >= least(0.95, GATES)


@pytest.mark.parametrize("noise", ["heavy tails (t2)", "bimodal"])
def test_noise_that_is_not_normal_makes_no_more_alarms_than_exchange_does(noise: str) -> None:
    """Two in K + 1 at most. By the prediction interval alone, t2 noise makes 46 in 100."""
    random, runs, alarms = np.random.default_rng(7), 20, 0
    for _ in range(GATES):
        table = Case(noise, runs, figures=24).drawn(random)
        family = [baseline_interval.place(dict(enumerate(row[:-1])), row[-1]) for row in table]
        alarms += any(
            each.p < baseline_interval.LEVEL for each in baseline_interval.chances(family)
        )
    assert alarms / GATES <= most(2 / (runs + 1), GATES)


def test_one_bad_run_does_not_blind_the_gate_and_two_are_told() -> None:
    bases = [dict(enumerate(noisy(20, seed))) for seed in range(6)]
    bases[1][4] *= 0.7
    family = [
        baseline_interval.place(bases[0], 800.0),
        *(baseline_interval.place(b, 900.0) for b in bases[1:]),
    ]
    assert baseline_interval.chances(family)[0].p < baseline_interval.LEVEL
    bases[2][9] *= 0.7
    family = [
        baseline_interval.place(bases[0], 800.0),
        *(baseline_interval.place(b, 900.0) for b in bases[1:]),
    ]
    assert baseline_interval.chances(family)[0] == baseline_interval.Chance(3 / 21, as_far=2)


def test_a_run_predicted_by_the_others_as_by_hand() -> None:
    """p of the third value of five, from the t statistic of the other four's mean and spread."""
    values = [100.0, 104.0, 97.0, 108.0, 101.0]
    placed = baseline_interval.place(dict(enumerate(values[:4])), values[4])
    others = np.log([100.0, 104.0, 108.0, 101.0])
    t = abs(np.log(97.0) - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 4))
    assert placed.others[2] == pytest.approx(2 * student.sf(t, 3))
