"""pktgen of the lab's kernel, by the agent that is sent there."""

from __future__ import annotations

import pytest

from harness.journal.journal import Journal
from harness.journal.modules import shown
from harness.labs.base import Lab
from harness.workloads.pps import MODULE, Pps, measure_limits

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def test_the_generator_alone_in_the_lab(lab: Lab) -> None:
    loads = [Pps(64), Pps(1518), Pps(0)]
    limits = measure_limits(lab.host, loads, Journal(lab.host, "pps"))
    assert limits.keys() == {load.name for load in loads}
    assert min(limits.values()) > 10_000, limits
    assert not lab.host.exists(shown(MODULE))
