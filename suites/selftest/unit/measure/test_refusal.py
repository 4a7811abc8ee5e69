"""Frames that do not fit are refused by the MTU that the configuration sets, be it another one than
the partner's port had."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.measure.plan import PlannedBoot
from harness.measure.runner import BootedPath
from harness.workloads.pps import Pps


def booted(*, partner: int, asked: int | None) -> BootedPath:
    """What decides of a path that is booted."""
    bench = SimpleNamespace(
        partner=SimpleNamespace(mtu=partner), setups={"": SimpleNamespace(mtu=asked)}
    )
    end = SimpleNamespace(interface="eth0", mtu=asked or partner)
    planned = PlannedBoot(block=0, path="sriov", boot=0)
    return BootedPath(*cast(tuple[Any, ...], (bench, planned, end, None, ())))


@pytest.mark.parametrize(
    ("partner", "asked", "fits"), [(1500, None, False), (1500, 9000, True), (9000, 1500, False)]
)
def test_the_mtu_that_is_set_decides(partner: int, asked: int | None, fits: bool) -> None:
    why = booted(partner=partner, asked=asked)._refusal(Pps(9018))
    assert not why if fits else why.startswith("frames of 9018 bytes: the MTU of 1500 of eth0")
