"""What a case is blamed for: the kernel's complaints, and PCIe errors that were counted."""

from __future__ import annotations

import pytest

from harness.errors import LabError
from harness.lab.base import Lab
from harness.qualify import health

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


@pytest.mark.lab
def test_only_complaints_since_the_mark_count(lab: Lab) -> None:
    bdfs = (lab.ports.dut,)

    def say(text: str) -> None:
        lab.host.write("/dev/kmsg", f"{text}\n".encode())

    health.begin(lab.host, bdfs, "nicproof case test.health")
    say("BUG: one of an earlier run of the same case")
    before = health.begin(lab.host, bdfs, "nicproof case test.health")
    assert any(name.startswith(lab.ports.dut) for name in before.aer), "the port has AER counters"
    assert health.complaints(before, bdfs) == ()
    say("igb 0000:01:00.0: 1 VFs allocated")
    say("WARNING: CPU: 0 PID: 1 at net/core/dev.c:1")
    (said,) = health.complaints(before, bdfs)
    assert said.endswith("WARNING: CPU: 0 PID: 1 at net/core/dev.c:1")
    assert health.complaints(before, bdfs, allowed=r"net/core/dev\.c") == ()


@pytest.mark.lab
def test_a_log_that_was_overwritten_is_no_clean_one(lab: Lab) -> None:
    before = health.Health(lab.host, "a mark that was never set", {})
    with pytest.raises(LabError, match="overwritten"):
        health.complaints(before, (lab.ports.dut,))
