"""All that is tuned on a host for a run, and what is tuned once more whenever a path is ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.pci.device import Device
from harness.tuning import affinity, coalescing, rings
from harness.tuning.coalescing import Place
from harness.tuning.governor import performance
from harness.tuning.irqbalance import paused

UNNAMED = "left as it is: the inventory names no cpus for a run"
UNKNOWN_INTERFACE = "left as it is: it has no interface"


@dataclass(frozen=True)
class Tuning:
    """A host that is tuned. `applied` says, for the report, what was done, or why it was not."""

    host: Host
    ports: PortPair
    applied: dict[str, str]
    usecs: int = coalescing.USECS  # at which the moderation of its ports is held
    ends: bool = False  # and that of where traffic ends, a guest's for one?

    def lengthen(self) -> None:
        """Make the receive ring of the port under test long again, where a path has bound its
        driver anew. To be called before a path is provisioned: the link may go for a moment."""
        if interface := Device(self.host, self.ports.dut).interface:
            rings.lengthen(self.host, interface)

    def moderate(self, machine: Host, interface: str, netns: str) -> dict[str, str]:
        """Hold the moderation of where traffic ends, if it is to be held; what has come of it, for
        the report. It ends with the guest, or with native's VF.

        To be called when the interface is up: igbvf does not know before where its register is.
        """
        if not self.ends:
            return {}
        return {"moderation": coalescing.hold(machine, interface, self.usecs, netns)}

    @contextmanager
    def prompt(self, partner: Place | None, end: Place | None) -> Iterator[dict[str, str]]:
        """While it lasts no interrupt is held back for long, if those of all ends are held
        otherwise: for traffic that waits for each. `partner` is the link partner's port if it is
        on this host, `end` where traffic ends unless that is left alone. What is so then, for a
        record."""
        if not self.ends:
            yield {}
            return
        interface = Device(self.host, self.ports.dut).interface
        under_test = Place(self.host, interface) if interface else None
        usecs = coalescing.LAB_PROMPT_USECS
        places = {port: 0 for port in (under_test, partner) if port}
        told = "ports 0 us"
        if end is not None:
            places[end] = usecs
            told += f", where traffic ends {usecs} us"
        with coalescing.changed(places, self.usecs):
            yield {"moderation": told}

    def settle(self, path: str, cpus: Sequence[int]) -> Settled:
        """Set again what a path has undone by making VFs or binding drivers: the interrupts of the
        port under test and of its VFs go to `cpus`, none for anywhere, and its moderation is held.

        To be called when the endpoint is up: only then has its driver all its interrupts.
        """
        dut = self.ports.dut
        interrupts, moderation = {}, {}
        if cpus:
            found = affinity.affinities(self.host, (dut,), cpus)
            interrupts[f"interrupts, {path}"] = affinity.describe(found, cpus)
        if interface := Device(self.host, dut).interface:
            held = coalescing.hold(self.host, interface, self.usecs)
            moderation[f"moderation of the port under test, {path}"] = held
        return Settled(interrupts, moderation)


@dataclass(frozen=True)
class Settled:
    """What was seen when a path was ready, for the report."""

    interrupts: dict[str, str]
    moderation: dict[str, str]


@contextmanager
def port_tuned(
    host: Host, ports: PortPair, cpus: Sequence[int], journal: Journal
) -> Iterator[Tuning]:
    """A host of which nothing is tuned but its ports: where the interrupts of the one under test
    arrive, unless there are no `cpus`, its receive ring, and the moderation of all, that of where
    traffic ends with them. Else as `tuned`."""
    with ExitStack() as stack:
        if cpus:
            stack.enter_context(affinity.affinities_kept(host, (ports.dut,), journal))
        applied = _moderation(host, ports, journal, stack, coalescing.LAB_USECS)
        applied |= _ring(host, ports, journal, stack)
        yield Tuning(host, ports, applied, coalescing.LAB_USECS, ends=True)


def _moderation(
    host: Host, ports: PortPair, journal: Journal, stack: ExitStack, usecs: int
) -> dict[str, str]:
    applied = {}
    for bdf in ports.here:
        what, interface = f"moderation of {bdf}", Device(host, bdf).interface
        if not interface:
            applied[what] = UNKNOWN_INTERFACE
            continue
        applied[what] = stack.enter_context(coalescing.held(host, interface, journal, usecs))
    return applied


def _ring(host: Host, ports: PortPair, journal: Journal, stack: ExitStack) -> dict[str, str]:
    what, interface = f"receive ring of {ports.dut}", Device(host, ports.dut).interface
    if not interface:
        return {what: UNKNOWN_INTERFACE}
    return {what: stack.enter_context(rings.lengthened(host, interface, journal))}


@contextmanager
def tuned(host: Host, ports: PortPair, cpus: Sequence[int], journal: Journal) -> Iterator[Tuning]:
    """The host tuned, its ports' interfaces still in its own namespace; afterwards as before.

    `cpus` are those of the run; empty: any, so neither governor nor interrupts are touched. A
    partner on another host is left alone.
    MissingCapability if the inventory allows no tuning.
    """
    journal.permit("tune")
    applied: dict[str, str] = {}
    with ExitStack() as stack:
        if cpus:
            applied["governor"] = stack.enter_context(performance(host, cpus, journal))
            # It goes on only when all interrupts are back where it believes that they are.
            applied["irqbalance"] = stack.enter_context(paused(host, journal))
            stack.enter_context(affinity.affinities_kept(host, (ports.dut,), journal))
        else:
            applied |= {"governor": UNNAMED, "interrupts": UNNAMED}
        applied |= _moderation(host, ports, journal, stack, coalescing.USECS)
        applied |= _ring(host, ports, journal, stack)
        yield Tuning(host, ports, applied)
