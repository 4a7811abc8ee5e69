"""Curves of a sweep, and where they stop gaining, on made-up records."""

from __future__ import annotations

import pytest

from harness.comparison.curves import count_of, curves, knees, values_along
from harness.records.run import Run
from suites.selftest.support.synthetic_sweep import Gains, make_sweep

RISING: Gains = {("1",): 1.0, ("2",): 1.6, ("4",): 2.4}
BENT: Gains = {("1",): 1.0, ("2",): 1.6, ("4",): 1.6}


def sentences(run: Run) -> list[str]:
    of = [curve for axis in run.info.axes for curve in curves(run, axis)]
    return [knee.sentence for knee in knees(run, of)]


def test_a_curve_has_a_figure_at_each_value_in_their_order() -> None:
    run = make_sweep(("queues",), {("4",): 2.4, ("1",): 1.0, ("2",): 1.6})
    assert values_along(run, "queues") == ("1", "2", "4")
    (curve,) = (each for each in curves(run, "queues") if each.metric == "throughput")
    one, two, four = (point.figure for point in curve.points)
    assert one is not None and two is not None and four is not None
    assert two.value / one.value == pytest.approx(1.6, rel=0.02)
    assert four.value / one.value == pytest.approx(2.4, rel=0.02)
    assert one.boots == 6 and not one.indicative


def test_words_are_in_the_order_in_which_they_were_given() -> None:
    run = make_sweep(("vhost",), {("on",): 1.0, ("off",): 0.5})
    assert values_along(run, "vhost") == ("on", "off")


def test_where_a_figure_stops_gaining_is_told_with_who_had_no_more_cpu() -> None:
    assert sentences(make_sweep(("queues",), BENT)) == [
        "virtio-vhost/tcp-tx stops gaining at queues = 2 in throughput"
    ]
    (told,) = sentences(make_sweep(("queues",), BENT, busy=0.97))
    assert told.endswith("in throughput: vhost's CPU is full")
    (told,) = sentences(make_sweep(("queues",), BENT, busy=0.97, guest=0.96))
    assert told.endswith("in throughput: the guest's CPU and vhost's CPU are full")


def test_a_figure_that_falls_after_its_best_has_stopped_gaining_too() -> None:
    (told,) = sentences(make_sweep(("queues",), {("1",): 1.0, ("2",): 1.6, ("4",): 1.2}))
    assert "stops gaining at queues = 2" in told


def test_what_never_gains_is_told_as_such() -> None:
    (told,) = sentences(make_sweep(("queues",), {("1",): 1.0, ("2",): 1.0, ("4",): 1.0}))
    assert told == "virtio-vhost/tcp-tx gains nothing beyond queues = 1 in throughput"


def test_no_knee_is_told_of_a_curve_that_rises_to_its_end_or_of_few_boots() -> None:
    assert sentences(make_sweep(("queues",), RISING)) == []
    assert sentences(make_sweep(("queues",), BENT, boots=3)) == []


def test_of_a_step_that_is_open_nothing_is_told() -> None:
    """Between the margin of 3 % and none: neither an improvement nor no change."""
    assert sentences(make_sweep(("queues",), {**BENT, ("4",): 1.6 * 1.03})) == []


def test_each_axis_has_its_curves_with_the_others_held() -> None:
    run = make_sweep(
        ("queues", "guest-cpus"),
        {("1", "1"): 1.0, ("1", "2"): 1.3, ("2", "1"): 1.0, ("2", "2"): 2.0},
    )
    told = sentences(run)
    assert told == [
        "virtio-vhost/tcp-tx gains nothing beyond queues = 1 (guest-cpus = 1) in throughput"
    ]
    held = {tuple(curve.held.items()) for curve in curves(run, "guest-cpus")}
    assert held == {(("queues", "1"),), (("queues", "2"),)}


def test_a_point_that_was_not_measured_leaves_a_gap() -> None:
    run = make_sweep(("queues",), BENT)
    kept = tuple(trial for trial in run.trials if trial.variant != "queues2")
    (curve,) = (
        each for each in curves(Run(run.info, kept), "queues") if each.metric == "throughput"
    )
    assert [point.figure is None for point in curve.points] == [False, True, False]
    assert curve.knee is None


@pytest.mark.parametrize(
    ("text", "count"), [("7", 1), ("2-3", 2), ("2-3,7", 3), ("any", 0), ("", 0), ("they share", 0)]
)
def test_cpus_are_counted_where_they_are_named(text: str, count: int) -> None:
    assert count_of(text) == count
