"""Does virtual time hang guests? Three hundred transfers over thirty boots.

Run by `make bench-endurance`. With Debian's own QEMU a nested guest hangs within 30 transfers by
the virtual clock (docs/adr/0007); here every one has to end, and to prove its path.
"""

from __future__ import annotations

import pytest

from fixtures.common.progress import Progress
from harness.core.units import MIB, is_virtual
from harness.measure.plan import PlannedBoot
from harness.measure.runner import Bench, boot_path
from harness.workloads.iperf3 import Iperf3

BOOTS, TRANSFERS = 15, 10
PATHS = ("sriov", "virtio-vhost")


@pytest.mark.parametrize("boot", range(BOOTS))
@pytest.mark.parametrize("path", PATHS)
def test_every_transfer_of_a_boot_ends(
    path: str, boot: int, bench: Bench, progress: Progress
) -> None:
    assert is_virtual(bench.info.clock)
    with boot_path(bench, PlannedBoot(boot, path, boot)) as place:
        for number in range(TRANSFERS):
            load = Iperf3("tcp-rx" if number % 2 else "tcp-tx", size=32 * MIB)
            record = place.trial(load, trial=number)
            progress.trial(record)
            assert record.valid, record.reasons
