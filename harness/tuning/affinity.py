"""Where the interrupts of ports and their VFs arrive (Documentation/core-api/irq/irq-affinity.rst).

An interrupt's number, and with it its affinity, lives only as long as its driver holds it: a port
that is bound anew, and one whose VFs are made or removed, has new ones. So what was found is
put back by position among the interrupts of a function, not by number, and what is wanted is set
again whenever a path is ready (harness.tuning.run).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.hosts.base import Host
from harness.inventory.fields import cpu_list
from harness.inventory.view import ranges
from harness.journal.journal import Journal, UndoCommand
from harness.pci.device import ROOT

IRQS = "/proc/irq"

EACH = r"""
irqs=$1 wanted=$2
shift 2
for device; do
    for function in "$device" "$device"/virtfn*; do
        bdf=$(basename "$(readlink -f "$function")")
        next=
        for irq in $(ls "$function/msi_irqs" 2>/dev/null | sort -n); do
            at=$irqs/$irq/smp_affinity_list
            next=${next:-$wanted}
            [ -z "$next" ] || echo "${next%%,*}" 2>/dev/null >"$at"
            case $next in *,*) next=${next#*,} ;; *) next= ;; esac
            read -r now 2>/dev/null <"$at" && echo "$bdf $irq $now"
        done
    done
done
exit 0
"""
"""Direct the interrupts of the ports $3... and their VFs to the CPUs $2 ("2,3"), of each function
in turn, unless it is empty, and tell what each one's affinity is then. INTx is left alone: its line
may be others' too."""

PUT_BACK = r"""
irqs=$1 device=$2
shift 2
for irq in $(ls "$device/msi_irqs" 2>/dev/null | sort -n); do
    [ $# -gt 0 ] || break
    at=$irqs/$irq/smp_affinity_list
    read -r now <"$at" && { [ "$now" = "$1" ] || echo "$1" >"$at"; } || failed=1
    shift
done
exit ${failed-0}
"""


@dataclass(frozen=True)
class Interrupt:
    """A vector of a function."""

    number: int
    affinity: str  # CPUs as Linux writes them: "0-3,7"


Affinities = dict[str, tuple[Interrupt, ...]]
"""BDF -> its interrupts, by rising number."""


def affinities(host: Host, bdfs: Sequence[str], wanted: Sequence[int] = ()) -> Affinities:
    """Of these ports and their VFs, after all that can be were directed to the `wanted` CPUs, each
    to one of them."""
    cpus, devices = ",".join(map(str, wanted)), (f"{ROOT}/{bdf}" for bdf in bdfs)
    return parse(host.run(("sh", "-c", EACH, "sh", IRQS, cpus, *devices)).text)


def parse(text: str) -> Affinities:
    """From lines "BDF NUMBER CPUS"."""
    found: Affinities = {}
    for line in text.splitlines():
        bdf, number, cpus = line.split()
        found[bdf] = (*found.get(bdf, ()), Interrupt(int(number), cpus))
    return found


@contextmanager
def affinities_kept(host: Host, bdfs: Sequence[str], journal: Journal) -> Iterator[None]:
    """While it lasts, interrupts of these ports and their VFs may be directed elsewhere; afterwards
    each of those that there were, and are, is where it was.

    Interrupts of VFs that are made meanwhile go with them. MissingCapability if none may be
    directed.
    """
    journal.permit("tune")
    put_back = ("sh", "-c", PUT_BACK, "sh", IRQS)
    undo = tuple(
        UndoCommand((*put_back, f"{ROOT}/{bdf}", *(each.affinity for each in irqs)))
        for bdf, irqs in affinities(host, bdfs).items()
    )
    with journal.change(f"directed the interrupts of {' and '.join(bdfs)}", undo):
        yield


@contextmanager
def placed(host: Host, bdf: str, cpus: Sequence[int], journal: Journal) -> Iterator[str]:
    """The interrupts of a port directed to `cpus`; afterwards where they were. Yields what has come
    of it, in words. MissingCapability if they may not be."""
    with affinities_kept(host, (bdf,), journal):
        yield describe(affinities(host, (bdf,), cpus), cpus)


def describe(found: Mapping[str, Sequence[Interrupt]], wanted: Sequence[int]) -> str:
    """In words: how many of each function are on the CPUs `wanted`, and which are not."""
    there = {
        bdf: [each for each in irqs if set(cpu_list(each.affinity)) <= set(wanted)]
        for bdf, irqs in found.items()
    }
    counts = ", ".join(f"{len(irqs)} of {bdf}" for bdf, irqs in there.items() if irqs) or "none"
    message = f"{counts} on CPUs {ranges(tuple(wanted))}"
    elsewhere = [
        f"{each.number} of {bdf} on {each.affinity}"
        for bdf, irqs in found.items()
        for each in irqs
        if each not in there[bdf]
    ]
    return f"{message}; could not be directed: {', '.join(elsewhere)}" if elsewhere else message
