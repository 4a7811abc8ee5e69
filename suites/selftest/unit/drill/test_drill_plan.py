"""Where the drill's faults strike."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.paths import DEFAULT
from suites.drill.plan import (
    FAULTS,
    IN_FLIGHT,
    POINTS,
    RESTORING,
    Fault,
    Phase,
    Step,
    draw,
    exposed,
)

PHASES: tuple[Phase, ...] = ("opening", "partner", "path", "guest", "leaving")


def course(*lengths: int) -> list[Step]:
    """A run's steps, so many of each phase; its QEMU is started by the last one of "guest"."""
    phases = [phase for phase, length in zip(PHASES, lengths, strict=True) for _ in range(length)]
    return [Step(n, phase, "", phase == "leaving") for n, phase in enumerate(phases, 1)]


@settings(max_examples=40, deadline=None)
@given(st.tuples(*(st.integers(1, 30) for _ in PHASES)), st.integers())
def test_each_fault_strikes_as_often_as_it_should_where_it_can(
    lengths: tuple[int, ...], seed: int
) -> None:
    steps = course(*lengths)
    points = list(draw("sriov", steps, Random(seed)))
    for fault in FAULTS:
        struck = [point.step for point in points if point.fault == fault]
        assert len(struck) == POINTS[fault]
        assert struck == sorted(struck, key=lambda step: step.number)
        assert set(struck) <= set(exposed(steps, fault))
        if len(exposed(steps, fault)) >= POINTS[fault]:
            assert len(set(struck)) == len(struck), "each in a stretch of its own"
        most = RESTORING[1] if fault == "killed twice" else IN_FLIGHT
        assert all(0.0 <= point.delay <= most for point in points if point.fault == fault)


def test_a_run_without_a_guest_loses_none() -> None:
    steps = [Step(n, "path", "", False) for n in range(20)]
    assert "guest killed" not in {point.fault for point in draw("native", steps, Random(1))}


def test_a_seed_draws_the_same_points_again() -> None:
    steps = course(20, 10, 20, 5, 30)
    one, two, other = (list(draw("sriov", steps, Random(seed))) for seed in ("1", "1", "2"))
    assert one == two != other


def test_a_whole_drill_has_at_least_a_hundred_points() -> None:
    assert sum(POINTS.values()) * len(DEFAULT) - POINTS["guest killed"] >= 100


@pytest.mark.parametrize("fault", FAULTS)
def test_the_many_steps_that_change_nothing_count_for_one(fault: Fault) -> None:
    steps = course(50, 1, 1, 1, 2)
    able = exposed(steps, fault)
    assert len(able) == (2 if fault == "guest killed" else 6)
