"""Pages of 2 MiB that a host has set aside (Documentation/admin-guide/mm/hugetlbpage.rst)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.hosts.base import Host

PAGE_MIB = 2

_HUGE = "hugepages/hugepages-2048kB"
EVERYWHERE = f"/sys/kernel/mm/{_HUGE}"
NODE = f"/sys/devices/system/node/node{{}}/{_HUGE}"


@dataclass(frozen=True)
class Pages:
    """How many a host has, or one of its NUMA nodes."""

    there: int
    free: int  # neither in use nor promised to a program that has not touched them yet
    path: str  # what says how many there shall be

    def freeing(self, wanted: int) -> str:
        """The command after which so many are free, if memory is."""
        return f"echo {self.there - self.free + wanted} > {self.path}"


def pages(host: Host, node: int | None = None) -> Pages | None:
    """Those of the NUMA node, or of all; None if the kernel has none, or there is no such node.

    Promises (resv_hugepages) are not told by node: all may be meant for this one.
    """
    at = EVERYWHERE if node is None else NODE.format(node)
    try:
        there, free = (_count(host, f"{at}/{name}_hugepages") for name in ("nr", "free"))
        left = _count(host, f"{EVERYWHERE}/free_hugepages")
        promised = _count(host, f"{EVERYWHERE}/resv_hugepages")
    except FileNotFoundError:
        return None
    return Pages(there, max(0, min(free, left - promised)), f"{at}/nr_hugepages")


def _count(host: Host, path: str) -> int:
    return int(host.read(path))
