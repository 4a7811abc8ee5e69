"""What /proc/interrupts tells, in text that real kernels printed."""

from __future__ import annotations

from harness.qualify.device.interrupts import numbered
from harness.window.counters import InterruptLine

HOST = """\
           CPU0       
  0:         93  IR-IO-APIC   2-edge      timer
 24:          0  DMAR-MSI   0-edge      dmar0
 25:          0  IR-PCI-MSIX-0000:00:03.0   0-edge      PCIe PME, aerdrv
 32:          1  IR-PCI-MSIX-0000:01:00.0   0-edge      eth1
 33:         32  IR-PCI-MSIX-0000:01:00.0   1-edge      eth1-rx-0
NMI:          0   Non-maskable interrupts
LOC:       3517   Local timer interrupts
ERR:          0
"""  # noqa: W291


def test_lines_by_number_with_chip_and_users() -> None:
    found = numbered(HOST)
    assert sorted(found) == [0, 24, 25, 32, 33]
    assert found[33] == InterruptLine((32,), "IR-PCI-MSIX-0000:01:00.0", "eth1-rx-0")
    assert found[25].users == "PCIe PME, aerdrv"
    assert found[0].chip == "IR-IO-APIC"
