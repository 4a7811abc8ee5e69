"""Interrupts of a PCI function: of which type they are, on which CPUs they were counted."""

from __future__ import annotations

from typing import Literal

from harness.hosts.base import Host
from harness.pci.device import ROOT
from harness.window.counters import InterruptLine, parse_interrupts

Kind = Literal["MSI-X", "MSI", "INTx"]
KINDS: dict[str, Kind] = {"msix": "MSI-X", "msi": "MSI", "intx": "INTx"}

TELL = """
echo "$(cat "$1/irq") intx"
for vector in "$1"/msi_irqs/*; do
    [ -e "$vector" ] && echo "${vector##*/} $(cat "$vector")"
done
exit 0
"""
"""irq and msi_irqs: Documentation/ABI/testing/sysfs-bus-pci. With MSI the first is MSI's too."""


def numbered(text: str) -> dict[int, InterruptLine]:
    """IRQ number -> its line; the lines of no number (NMI, LOC, ...) are passed over."""
    lines = parse_interrupts(text)
    return {int(name): line for name, line in lines.items() if name.isdecimal() and line.chip}


def interrupts(host: Host) -> dict[int, InterruptLine]:
    """All of a machine's interrupts, as they are counted now."""
    return numbered(host.read("/proc/interrupts").decode())


def vectors(host: Host, bdf: str) -> dict[int, Kind]:
    """The function's interrupts that are in use, by IRQ number, and their type."""
    in_use = interrupts(host)
    output = host.run(("sh", "-c", TELL, "sh", f"{ROOT}/{bdf}")).text
    pairs = (line.split() for line in output.splitlines())
    kinds = {int(number): KINDS[kind] for number, kind in pairs if int(number) in in_use}
    return {number: kind for number, kind in kinds.items() if kind != "INTx"} or kinds
