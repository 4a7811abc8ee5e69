"""Whoever drives a VF has no memory but what was mapped for it."""

from __future__ import annotations

from typing import Literal

import pytest

from fixtures.qualification.cases import Evidence
from harness.net.netdev import link
from harness.qualify.checks.isolation import framed, named
from harness.qualify.faults import dma
from harness.qualify.rig.act import under_test
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import vfs


@pytest.mark.case("kernel", needs=("SR-IOV", "IOMMU"), provokes="DMAR: |AMD-Vi: ")
@pytest.mark.parametrize("access", ["read", "write"])
def test_dma_outside(rig: Rig, access: Literal["read", "write"], evidence: Evidence) -> None:
    """A VF that is told to access memory that was not mapped for it is stopped by the IOMMU, and
    the kernel names VF and address; with mapped memory the same VF sends its frame."""
    pf = link(rig.host, rig.port.interface).address
    with vfs(rig, 1) as (vf,):
        within, outside = (framed(name, vf.mac, rig.wire.mac) for name in ("within", "outside"))
        with under_test(f"a {access} by the VF outside of its memory"):
            outcome = dma.send(rig, vf, [(within, "mapped"), (outside, access)])
    assert outcome.mac == vf.mac
    assert "within" in named(outcome.heard), "with mapped memory the VF sent nothing either"
    expected = dma.Fault(vf.bdf.partition(":")[2], access, dma.OUTSIDE)
    assert set(outcome.faults) == {expected}, f"the kernel tells of {outcome.faults or 'no fault'}"
    sent = [frame for frame in outcome.heard if frame.data[6:12].hex(":") == vf.mac]
    assert len(sent) == (1 if access == "read" else 2), f"{len(sent)} frames of the VF were heard"
    # Of a read that nobody answers a device makes nothing, zeros or ones; anything else, as the
    # frame that the VF was told to fetch, would be somebody's memory.
    others = [
        frame.data for frame in outcome.heard if frame.data[6:12].hex(":") not in (vf.mac, pf)
    ]
    leaked = [data.hex() for data in others if set(data) not in ({0x00}, {0xFF})]
    assert not leaked, f"frames of unknown content were sent: {leaked}"
    evidence(f"the {access} of 0x{dma.OUTSIDE:x} by {expected.function} was stopped, none before")
