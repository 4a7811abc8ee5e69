"""Everything at once and for long, and nothing may be left over."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from fixtures.common.options import QUALIFY_OPTIONS
from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.qualify.checks.digest import differences, digest
from harness.qualify.checks.leaks import holdings
from harness.qualify.rig.act import under_test
from harness.qualify.rig.node import reaches
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import Vf, on_host, vfs
from harness.qualify.traffic.streams import Stream, carried, longest_silence, streams

EMULATED_PACE = ("--bitrate", "4M")
"""bit/s of a stream on an emulated port, whose every frame costs the controller's time. Silicon
is not paced."""

STALL = 3
"""Seconds of the host's clock for which a stream may be silent: TCP sends again after 1 s at most
where the round trip is short (RFC 6298), so this is two losses in a row."""

GROWTH_KIB = 8192
"""What the kernel's caches for frames and connections may keep."""


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> int:
    """Seconds of the host's clock for which the stress is kept up (--soak)."""
    return request.config.stash[QUALIFY_OPTIONS].soak


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_soak(rig: Rig, soak: int, evidence: Evidence) -> None:
    """TCP runs both ways over all VFs but one, which comes and goes beside them; nothing stalls,
    leaks or stays behind."""
    state, held = digest(rig.host), holdings(rig.host)
    most = int(rig.port.device.attribute("sriov_totalvfs"))
    if most < 2:
        raise MissingCapability("two VFs", f"{rig.port.bdf} offers {most}")
    pace = EMULATED_PACE if rig.emulated else ()
    with vfs(rig, most) as (churned, *busy), ExitStack() as stack:
        nodes = [stack.enter_context(on_host(rig, vf)) for vf in busy]
        traffic = stack.enter_context(streams(nodes, rig.wire, soak, *pace))
        with under_test("binding and unbinding a VF beside the streams"):
            turns = churn(rig, churned, traffic)
        with under_test("the streams' coming to their end"):
            reports = {stream.node.netns: stream.report() for stream in traffic}
    silences = {name: longest_silence(report) for name, report in reports.items()}
    evidence(f"{soak} s over {len(busy)} VFs, one more bound and unbound {turns} times meanwhile")
    evidence(
        f"{sum(map(carried, reports.values()))} bytes arrived; longest silence "
        f"{max(silences.values())} s"
    )
    assert max(silences.values()) <= STALL, f"streams stalled, s: {silences}"
    after = holdings(rig.host)
    evidence(f"before: {held}; after: {after}")
    assert after.countable == held.countable, f"{held}, afterwards {after}"
    assert after.memory_kib - held.memory_kib < GROWTH_KIB, f"{held}, afterwards {after}"
    assert not differences(state, digest(rig.host))


def churn(rig: Rig, vf: Vf, beside: Sequence[Stream]) -> int:
    """Bind, use and unbind the VF until none of the streams runs any more; how often that was."""
    turns = 0
    while any(stream.runs for stream in beside):
        with on_host(rig, vf) as node:
            assert reaches(node, rig.wire.ip), f"no answer when bound {turns + 1} times"
        turns += 1
    return turns
