"""Interrupts of a PCI function: of which type they are, on which CPUs they were counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.host.base import Host
from harness.pci.device import ROOT

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


@dataclass(frozen=True)
class Line:
    """A line of /proc/interrupts: how often, by CPU, and whose. `chip` begins with what raises
    it, such as "IR-PCI-MSIX-0000:01:00.0"; "IR-" means remapped."""

    counts: tuple[int, ...]
    chip: str
    users: str


def parse_interrupts(text: str) -> dict[int, Line]:
    """IRQ number -> its line; the lines of no number (NMI, LOC, ...) are passed over."""
    header, *lines = text.splitlines()
    cpus = len(header.split())
    found = {}
    for line in lines:
        number, _, rest = line.partition(":")
        fields = rest.split(None, cpus + 2)
        if number.strip().isdigit() and len(fields) > cpus:
            counts = tuple(map(int, fields[:cpus]))
            chip, users = fields[cpus], fields[-1] if len(fields) > cpus + 2 else ""
            found[int(number)] = Line(counts, chip, users)
    return found


def interrupts(host: Host) -> dict[int, Line]:
    """All of a machine's interrupts, as they are counted now."""
    return parse_interrupts(host.read("/proc/interrupts").decode())


def vectors(host: Host, bdf: str) -> dict[int, Kind]:
    """The function's interrupts that are in use, by IRQ number, and their type."""
    in_use = interrupts(host)
    told = host.run(("sh", "-c", TELL, "sh", f"{ROOT}/{bdf}")).text
    pairs = (line.split() for line in told.splitlines())
    kinds = {int(number): KINDS[kind] for number, kind in pairs if int(number) in in_use}
    return {number: kind for number, kind in kinds.items() if kind != "INTx"} or kinds
