"""What a case is blamed for: the kernel's complaints, and PCIe errors that were counted.

The complaints are real: QEMU lets an emulated root port tell of an error of its link.
"""

from __future__ import annotations

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.labs.base import Lab
from harness.labs.nested.lab import NestedLab
from harness.qualify.faults import health
from harness.qualify.faults.health import Health
from harness.qualify.faults.kernellog import Watched
from harness.qualify.rig.placement import ports_above

AER = """\
/sys/bus/pci/devices/0000:01:00.0/aer_dev_correctable:TOTAL_ERR_COR 3
/sys/bus/pci/devices/0000:01:00.0/aer_dev_nonfatal:TOTAL_ERR_NONFATAL 0
/sys/bus/pci/devices/0000:01:00.0/aer_dev_fatal:TOTAL_ERR_FATAL 1
"""


def test_counters_of_a_port() -> None:
    assert health.parse_aer(AER) == {
        "0000:01:00.0 aer_dev_correctable": 3,
        "0000:01:00.0 aer_dev_nonfatal": 0,
        "0000:01:00.0 aer_dev_fatal": 1,
    }


def inject(lab: NestedLab, port: str, before: Health) -> None:
    """A frame that came damaged over the link of one of L1's root ports, by QEMU's name for it."""
    line = f"pcie_aer_inject_error {port} BAD_TLP"
    message = lab.vm.qmp.command("human-monitor-command", **{"command-line": line})
    assert message.startswith("OK"), message

    def logged() -> bool:
        log = lab.host.run(("dmesg",)).text.rpartition(before.mark)[2]
        return "BadTLP" in log  # the last line of several

    Deadline(60.0, f"the kernel's words on an error of {port}").poll(logged)


@pytest.mark.lab
def test_a_kernels_complaint_is_that_of_the_port_it_names(lab: NestedLab) -> None:
    bdfs = (lab.ports.dut,)
    ours = health.watched(lab.host, bdfs)
    (above,) = ports_above(lab.host, lab.ports.dut)
    before = health.begin(lab.host, bdfs, "nicproof case test.health")
    assert any(name.startswith(lab.ports.dut) for name in before.aer), "the port has AER counters"
    inject(lab, "rp2", before)  # the port above the partner, which is not watched
    assert health.since(before, bdfs, ours).product == ()
    before = health.begin(lab.host, bdfs, "nicproof case test.health")
    inject(lab, "rp1", before)
    first, *more = health.since(before, bdfs, ours).product
    assert f"pcieport {above}: AER: Correctable error message received from {above}" in first
    assert more
    assert health.since(before, bdfs, ours, allowed="AER: |PCIe Bus Error").product == ()
    both = health.watched(lab.host, (lab.ports.dut, lab.ports.partner))
    assert both.functions > ours.functions
    assert len(both.functions) == 2 * (1 + 1 + 7), "port, root port, 7 VFs, of both"


@pytest.mark.lab
def test_only_complaints_since_the_mark_count(lab: NestedLab) -> None:
    bdfs = (lab.ports.dut,)
    ours = health.watched(lab.host, bdfs)
    earlier = health.begin(lab.host, bdfs, "nicproof case test.health")
    inject(lab, "rp1", earlier)
    before = health.begin(lab.host, bdfs, "nicproof case test.health")
    lab.host.write("/dev/kmsg", b"BUG: this is what a program says\n")
    found = health.since(before, bdfs, ours)
    assert found.product == ()
    assert health.since(earlier, bdfs, ours).product


@pytest.mark.lab
def test_a_log_that_was_overwritten_is_no_clean_one(lab: Lab) -> None:
    before = Health(lab.host, "a mark that was never set", {})
    with pytest.raises(LabError, match="overwritten"):
        health.since(before, (lab.ports.dut,), Watched())
