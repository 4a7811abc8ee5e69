"""Where a function stands in its host: the port above it, its IOMMU group, its NUMA node."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.pci.device import ROOT, Device

GROUPS = """
for bdf; do
    for member in "/sys/bus/pci/devices/$bdf/iommu_group/devices/"*; do
        echo "$bdf ${member##*/}"
    done
done
"""


_ABOVE = re.compile(r"/([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?=/)")
"""In the path of a function below /sys/devices: the functions that it is behind."""


def iommu_groups(host: Host, bdfs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The functions in each one's IOMMU group, itself among them; one in none is left out."""
    found: dict[str, tuple[str, ...]] = {}
    for line in host.run(("sh", "-c", GROUPS, "sh", *bdfs)).text.splitlines():
        bdf, member = line.split()
        if member != "*":
            found[bdf] = (*found.get(bdf, ()), member)
    return found


def ports_above(host: Host, bdf: str) -> tuple[str, ...]:
    """BDFs of the ports between the function and the root, the nearest first; none of a function
    that is on the root bus."""
    path = host.run(("readlink", "-f", f"{ROOT}/{bdf}")).text.strip()
    return tuple(reversed(_ABOVE.findall(path)))


def link_limit(host: Host, bdf: str) -> tuple[float, int]:
    """What the port above the function allows: GT/s and lanes.

    MissingCapability if it does not tell, as virtual ports do not ("Unknown")."""
    ports = ports_above(host, bdf)
    if not ports:
        raise MissingCapability("the link's limit", f"{bdf} is on the root bus, with no port above")
    above = Device(host, ports[0])
    speed, width = above.attributes("max_link_speed", "max_link_width")
    number = re.match(r"\d+(\.\d+)? GT/s", speed)
    if number is None or not width.isdecimal():
        why = f"{above.bdf}, above {bdf}, tells neither its speed nor its width: {speed}, {width}"
        raise MissingCapability("the link's limit", why)
    return float(number[0].split()[0]), int(width)


def numa_nodes(host: Host) -> tuple[int, ...]:
    """The host's NUMA nodes; a kernel without NUMA counts as one node."""
    found = host.glob("/sys/devices/system/node/node[0-9]*")
    return tuple(int(path.rpartition("node")[2]) for path in found) or (0,)
