"""What an IOMMU's faults look like in a kernel log."""

from __future__ import annotations

from harness.qualify.faults.dma import OUTSIDE, Fault, faults

LOG = """\
[28286.644731] igb 0000:02:00.0 eth2: entered promiscuous mode
[28286.740976] vfio-pci 0000:01:10.0: enabling device (0000 -> 0002)
[28286.846004] DMAR: DRHD: handling fault status reg 2
[28286.846012] DMAR: [DMA Read NO_PASID] Request device [01:10.0] fault addr 0x2bad0000 \
[fault reason 0x06] PTE Read access is not set
[28287.261039] igb 0000:02:00.0 eth2: left promiscuous mode
[28417.981783] DMAR: DRHD: handling fault status reg 2
[28417.981792] DMAR: [DMA Write NO_PASID] Request device [01:10.0] fault addr 0x2bad0000 \
[fault reason 0x05] PTE Write access is not set
"""
"""Linux 6.12 with an Intel IOMMU, as the two cases of isolation.dma-outside made it say."""


def test_faults_of_an_intel_iommu_are_read_from_the_log() -> None:
    assert faults(LOG) == (
        Fault("01:10.0", "read", OUTSIDE),
        Fault("01:10.0", "write", OUTSIDE),
    )


def test_a_log_without_faults_has_none() -> None:
    assert faults("\n".join(LOG.splitlines()[:2])) == ()
