"""Memory of guests: pages, and how much of it may be pinned."""

from __future__ import annotations

from harness.doctor.facts import output_of
from harness.doctor.findings import GUESTS, Finding, State
from harness.hosts.base import Host
from harness.hosts.hugepages import Pages, pages
from harness.qemu.config import GuestConfig

MARGIN_MIB = 64
"""What QEMU pins beyond a guest's memory: ROMs and the like."""


def memory(host: Host, wanted: int = 0, node: int | None = None) -> tuple[Finding, ...]:
    """Hugepages, of which the inventory promises as many as `wanted` on `node`, and the memlock
    limit."""
    return (judge_pages(pages(host, node), wanted), _memlock(host))


def judge_pages(found: Pages | None, wanted: int) -> Finding:
    """None if the host does not have any, and never will."""
    if found is None:
        remedy = "take hugepages, or numa, out of the inventory" if wanted else ""
        state: State = "no" if wanted else "note"
        return Finding("hugepages", state, "none of 2 MiB here", remedy, GUESTS)
    detail = f"{found.free} of {found.there} free"
    if found.free >= wanted:
        return Finding("hugepages", "yes" if wanted else "note", detail)
    detail += f", the inventory promises {wanted}"
    return Finding("hugepages", "no", detail, found.freeing(wanted), GUESTS)


def _memlock(host: Host) -> Finding:
    """Of the user that we are there, who is the one that will run QEMU."""
    output = output_of(host, ("sh", "-c", "id -u; id -un; ulimit -l")) or ""
    uid, user, limit = (*output.splitlines(), "", "", "")[:3]  # a name may have blanks
    return judge_memlock(uid, user, limit)


def judge_memlock(uid: str, user: str, limit: str) -> Finding:
    """`limit` is in KiB, as ulimit -l prints it. vfio pins all of a guest's memory, and root may
    pin as much as it likes (CAP_IPC_LOCK in capabilities(7))."""
    if not limit:
        return Finding("memlock limit", "note", "unknown")
    needed = GuestConfig.memory_mib + MARGIN_MIB
    if uid == "0":
        return Finding("memlock limit", "yes", "does not bind root", needed=GUESTS)
    if limit == "unlimited" or int(limit) >= needed * 1024:
        return Finding("memlock limit", "yes", f"{user}: {limit} KiB", needed=GUESTS)
    return Finding(
        "memlock limit",
        "no",
        f"{user}: {limit} KiB, a guest takes {needed} MiB",
        f'echo "{user} - memlock unlimited" > /etc/security/limits.d/nicproof.conf; log in again',
        GUESTS,
    )
