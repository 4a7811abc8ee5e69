"""Which CPU everything has that takes part in a run.

A scheduler that is free to choose puts the same process beside another one in each boot, and a rate
has two values then: a VF's was a quarter lower where the link partner's iperf3 shared the CPU of
its port's interrupts. So each gets a CPU of its own, as far as there are some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.inventory.view import ranges

SHARED = "they share the CPUs of the rest: there are too few for one each"


@dataclass(frozen=True)
class Placement:
    """CPUs of the host under test, and of the link partner's; none: anywhere.

    Of several that something has, its first thread, queue or vector has the first one, and so on.
    """

    vcpus: tuple[int, ...] = ()
    qemu: tuple[int, ...] = ()  # its threads but the vCPUs'
    vhost: tuple[int, ...] = ()
    interrupts: tuple[int, ...] = ()  # of the port under test and its VFs, softirqs with them
    partner_interrupts: tuple[int, ...] = ()
    partner: tuple[int, ...] = ()  # its programs
    own: tuple[int, ...] = ()  # nicproof's programs

    def table(self) -> dict[str, str]:
        """What takes part -> its CPUs, in words, for the report."""
        return {
            "vCPUs": ranges(self.vcpus) or (SHARED if self.qemu else "any"),
            "QEMU's other threads": ranges(self.qemu) or "any",
            "vhost": ranges(self.vhost) or "any",
            "interrupts of the port under test": ranges(self.interrupts) or "any",
            "interrupts of the partner's port": ranges(self.partner_interrupts) or "any",
            "the partner's programs": ranges(self.partner) or "any",
            "nicproof's programs": ranges(self.own) or "any",
        }


ANYWHERE = Placement()


@dataclass(frozen=True)
class Room:
    """CPUs that it takes for everything to have one of its own, and of what: "the point a"."""

    guests: int  # for what serves the guest
    others: int  # for the link partner
    why: str = ""
    needed: bool = True  # else there may be fewer, which some share then


def room(vcpus: int, queues: int, streams: int = 1, why: str = "", *, needed: bool = True) -> Room:
    """Of a guest: its vCPUs, a worker of vhost for each queue, QEMU's other threads and the port's
    interrupts. Of the partner: for each queue a CPU for interrupts and one for a program, two of
    both for several streams, which one for interrupts seems to limit."""
    return Room(vcpus + queues + 2, 2 * max(queues, min(streams, 2)), why, needed)


def place(
    cpus: Sequence[int],
    partner_cpus: Sequence[int],
    *,
    vcpus: int = 1,
    queues: int = 1,
    streams: int = 1,
) -> Placement:
    """Place a guest and its link partner.

    `cpus` of the host are for what serves the guest, `partner_cpus` of the partner's host for all
    else; vhost has a worker for each of the guest's `queues`, and whatever deals with streams may
    have one for each.
    """
    flows = max(queues, streams)
    mine, others = tuple(cpus), tuple(partner_cpus)
    half = max(1, len(others) // 2)
    programs = others[half:] or others
    placed = Placement(
        vcpus=(),
        qemu=mine,
        vhost=mine,
        interrupts=mine,
        partner_interrupts=others[: min(half, flows)],
        partner=programs[:flows],
        own=others[:1],
    )
    if len(mine) <= vcpus:
        return placed
    helpers = mine[:-vcpus]
    workers = min(queues, max(len(helpers) - 2, 0))
    interrupts = helpers[: max(len(helpers) - workers - 1, 1)]
    return replace(
        placed,
        vcpus=mine[-vcpus:],
        qemu=helpers[-workers - 1 : len(helpers) - workers],
        vhost=helpers[-workers:] if workers else helpers[-1:],
        interrupts=interrupts[:flows],
    )


def taskset(cpus: Sequence[int]) -> tuple[str, ...]:
    """argv prefix of what is to run on these CPUs; nothing for any."""
    return ("taskset", "--cpu-list", ranges(tuple(cpus))) if cpus else ()
