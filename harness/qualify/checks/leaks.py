"""What a host holds for its PCI functions, so that what is not given back can be told."""

from __future__ import annotations

from dataclasses import dataclass

from harness.hosts.base import Host

LOOK = """
sync
echo 2 >/proc/sys/vm/drop_caches
sleep 2
count() { [ -e "$2" ] || shift; echo "$1: $(($# - 1))"; }
count functions /sys/bus/pci/devices/*
count groups /sys/kernel/iommu_groups/*
count interfaces /sys/class/net/*
cat /proc/meminfo
"""
"""Names and inodes of sysfs that are only kept for the next reader are dropped, and what the kernel
frees in a while (RCU, work queues) has that while."""

MEMORY = ("SUnreclaim", "KernelStack", "Percpu")
"""Of /proc/meminfo: what a driver or the PCI core allocates lies here, and no page cache does."""


@dataclass(frozen=True)
class Holdings:
    """How much there is of what comes and goes with a function. Memory is the kernel's own."""

    functions: int
    groups: int
    interfaces: int
    memory_kib: int

    @property
    def countable(self) -> tuple[int, int, int]:
        return (self.functions, self.groups, self.interfaces)

    def __str__(self) -> str:
        return (
            f"{self.functions} PCI functions, {self.groups} IOMMU groups, "
            f"{self.interfaces} interfaces, {self.memory_kib} KiB of the kernel's memory"
        )


def holdings(host: Host) -> Holdings:
    """What `host` holds now."""
    return parse(host.run(("sh", "-c", LOOK)).text)


def parse(text: str) -> Holdings:
    """From what LOOK prints."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0])
    return Holdings(
        found["functions"],
        found["groups"],
        found["interfaces"],
        sum(found[name] for name in MEMORY),
    )
