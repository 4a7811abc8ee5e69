"""What the host complains of meanwhile: its kernel log, and the PCIe errors of the ports."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import LabError
from harness.host.base import Host
from harness.pci.device import ROOT

COMPLAINTS = re.compile(
    r"WARNING: |BUG: |Oops|Call Trace:|general protection|kernel panic|soft lockup|hung_task|"
    r"blocked for more than|UBSAN|KASAN|refcount_t:|list_(?:add|del) corruption|"
    r"NETDEV WATCHDOG|Tx Unit Hang|Reset adapter|DMAR: \[|AMD-Vi: Event|"
    r"AER: |PCIe Bus Error|vfio.*(?:fail|error)|IRQ.*nobody cared",
    re.IGNORECASE,
)
"""Lines that no healthy case leaves in a kernel log. Drivers say a lot that is none."""

AER = ("aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
"""Counters of a function (Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats)."""

LOOK = """
mark=$1
shift
dmesg | awk -v mark="$mark" 'found; index($0, mark) { found = 1 } END { exit !found }' || exit 1
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


def begin(host: Host, bdfs: Sequence[str], title: str) -> Health:
    """Remember the counters and set a mark into the kernel log: the title, and what makes it the
    only one of its kind. An earlier run may have left its own there."""
    mark = f"{title} {secrets.token_hex(8)}"
    host.write("/dev/kmsg", f"{mark}\n".encode())
    _, aer = _look(host, bdfs, mark)
    return Health(host, mark, aer)


def complaints(before: Health, bdfs: Sequence[str], allowed: str = "") -> tuple[str, ...]:
    """What the kernel complained of since `before`, and PCIe errors counted since.

    `allowed` is a regular expression of lines that the case means to provoke.
    """
    log, aer = _look(before.host, bdfs, before.mark)
    said = [line for line in log if COMPLAINTS.search(line)]
    if allowed:
        said = [line for line in said if not re.search(allowed, line)]
    for counter, value in aer.items():
        if more := value - before.aer.get(counter, 0):
            said.append(f"{counter}: {more} more")
    return tuple(said)


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
