"""What the host complains of meanwhile: its kernel log, and the PCIe errors of the ports."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.pci.address import Address
from harness.pci.device import ROOT, Device
from harness.pci.sriov import total_vfs
from harness.qualify.faults.kernellog import NO_DRIVERS, Found, Watched, judge
from harness.qualify.rig.placement import ports_above

AER = ("aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
"""Counters of a function (Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats)."""

LOOK = """
mark=$1
shift
dmesg -r | awk -v mark="$mark" 'found; index($0, mark) { found = 1 } END { exit !found }' || exit 1
echo "$mark"
grep -H TOTAL "$@" 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class Health:
    """The host's state at one moment: where its log stands, what its counters say."""

    host: Host
    mark: str
    aer: dict[str, int]


def watched(host: Host, bdfs: Sequence[str], interfaces: Sequence[str] = ()) -> Watched:
    """Whose lines of the kernel log count, where these functions are under test: their own, those
    of all VFs that they can have, and of the ports above them, up to the root.

    `interfaces` are names that the functions have, in whichever namespace.
    """
    functions, drivers = set[Address](), set[str]()
    for bdf in bdfs:
        device = Device(host, bdf)
        functions |= {Address.parse(each) for each in (bdf, *ports_above(host, bdf))}
        functions |= set(_places_of_vfs(device))
        expected = device.profile
        drivers |= {device.driver}
        drivers |= {each.driver.value for each in (expected.pf, expected.vf) if each.driver}
    drivers -= {"", *NO_DRIVERS}
    return Watched(frozenset(functions), frozenset(drivers), frozenset(interfaces))


def _places_of_vfs(device: Device) -> list[Address]:
    """Addresses of the VFs that there are or could be."""
    count = total_vfs(device.host, device.bdf)
    if not count:
        return []
    offset, stride = map(int, device.attributes("sriov_offset", "sriov_stride"))
    pf = Address.parse(device.bdf)
    return [pf.vf(index, offset=offset, stride=stride) for index in range(count)]


def begin(host: Host, bdfs: Sequence[str], title: str) -> Health:
    """Remember the counters and set a mark into the kernel log: the title, and what makes it the
    only one of its kind. An earlier run may have left its own there."""
    mark = f"{title} {secrets.token_hex(8)}"
    host.write("/dev/kmsg", f"{mark}\n".encode())
    _, aer = _look(host, bdfs, mark)
    return Health(host, mark, aer)


def since(before: Health, bdfs: Sequence[str], of: Watched, allowed: str = "") -> Found:
    """What the kernel said since `before` of the watched, and PCIe errors that the functions
    counted.

    `allowed` is a regular expression of lines that the case means to provoke. Raises LabError if
    the log does not reach back so far.
    """
    log, aer = _look(before.host, bdfs, before.mark)
    found = judge(log, of, allowed)
    counted = [
        f"{counter}: {more} more"
        for counter, value in aer.items()
        if (more := value - before.aer.get(counter, 0))
    ]
    return replace(found, product=(*found.product, *counted))


def _look(host: Host, bdfs: Sequence[str], mark: str) -> tuple[list[str], dict[str, int]]:
    files = [f"{ROOT}/{bdf}/{name}" for bdf in bdfs for name in AER]
    result = host.run(("sh", "-c", LOOK, "sh", mark, *files), check=False)
    if result.returncode != 0:
        raise LabError(
            f"{host.name}: the kernel's log was overwritten since “{mark}”, with what it said",
            remedy="a longer log: log_buf_len=4M on the kernel's command line",
        )
    text = result.text
    log, _, counters = text.rpartition(f"{mark}\n")
    return log.splitlines(), parse_aer(counters)


def parse_aer(text: str) -> dict[str, int]:
    """ "BDF counter" -> total, from `grep -H TOTAL` over a function's aer_dev_* files."""
    found = {}
    for line in text.splitlines():
        path, _, total = line.partition(":TOTAL_")
        bdf, _, counter = path.rpartition("/")
        if total:
            found[f"{bdf.rpartition('/')[2]} {counter}"] = int(total.split()[-1])
    return found
