"""What readings of two clocks tell of their pace."""

from __future__ import annotations

import pytest

from harness.qualify.device.clock import ClockReading, Stamped, rate

SECOND = 1_000_000_000


def reading(at: int, clock: int, window: int = 100) -> ClockReading:
    return ClockReading(at - window // 2, clock, at + window // 2, 0)


def test_a_clock_that_gains_a_microsecond_a_second() -> None:
    pace, doubt = rate(reading(0, 7), reading(SECOND, SECOND + 1007))
    assert pace == pytest.approx(1000)
    assert doubt == pytest.approx(100)


def test_an_equal_pace_is_none_wherever_the_clock_stands() -> None:
    assert rate(reading(0, -5 * SECOND), reading(SECOND, -4 * SECOND))[0] == 0


@pytest.mark.parametrize(("stamp", "fits"), [(None, False), (9, False), (10, True), (31, False)])
def test_a_stamp_fits_between_the_looks_at_the_clock(stamp: int | None, fits: bool) -> None:
    assert Stamped(10, stamp, 30).fits is fits
