"""A host of an inventory as a lab: asked first whether it may be used, then held for the run.

Until all questions are answered nothing is changed there but locks. What a run then changes is in
the host's journal; what stays is the micro guest, in a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.errors import ConfigError
from harness.guest.image import deploy
from harness.host.base import Host
from harness.host.strays import strays
from harness.inventory import HostSpec, PortPair
from harness.inventory.guard import require
from harness.inventory.lock import Owner, host_lock, owners, port_lock
from harness.inventory.reach import reached
from harness.inventory.spec import denied
from harness.inventory.view import ranges
from harness.journal import Journal, left_over
from harness.lab.choice import RealChoice
from harness.lab.image import ensure_image
from harness.lab.toolchain import parse_version
from harness.measure.record import TUNING
from harness.qemu.config import DeployedImage, Hugepages
from harness.realhost.fidelity import fidelity
from harness.realhost.memory import require_hugepages
from harness.realhost.place import place_held
from harness.realhost.programs import require_programs
from harness.tuning.run import Tuning, tuned
from harness.units import Clock, Fidelity


@dataclass(frozen=True)
class RealLab:
    """A real host whose ports are ours."""

    host: Host
    spec: HostSpec
    ports: PortPair
    fidelity: Fidelity
    qemu_version: str
    guest: DeployedImage
    clock: Clock = "wall"

    @property
    def cpus(self) -> tuple[int, ...]:
        return self.spec.cpus

    @property
    def hugepages(self) -> Hugepages | None:
        return Hugepages(self.spec.hugepages, self.spec.numa) if self.spec.hugepages else None

    @property
    def caveat(self) -> str:
        """A host that is a virtual machine itself is as good as any for what is counted."""
        if self.fidelity == "hardware":
            return ""
        return f"{self.host.name} is a virtual machine itself ({self.fidelity})"

    @contextmanager
    def tuned(self, journal: Journal) -> Iterator[Tuning | None]:
        """If the inventory allows that."""
        if "tune" not in self.ports.may:
            yield None
            return
        with tuned(self.host, self.ports, self.cpus, journal) as tuning:
            yield tuning

    def describe(self) -> dict[str, str]:
        """For the record of a run."""
        place = {"labgrid": str(self.spec.place)} if self.spec.place else {}
        found = {
            "kind": "real host",
            **place,
            "fidelity": self.fidelity,
            "clock": self.clock,
            "qemu": self.qemu_version,
            "may be changed": ", ".join(sorted(self.ports.may)) or "nothing",
            "CPUs of guests, QEMU and vhost": ranges(self.cpus) or "any",
        }
        if "tune" not in self.ports.may:
            found[TUNING] = f"none, since {denied(self.host.name, 'tune')[1]}"
        return found


@contextmanager
def open_real_lab(choice: RealChoice, *, run: str, progress: bool = True) -> Iterator[RealLab]:
    """The host that was chosen, held for `run` until the context ends.

    Raises ConfigError, with the reason, if the host, its place in labgrid or one of its ports must
    not be used as it is, and HostUnreachable if it cannot be reached.
    """
    with place_held(choice.host), reached(choice.host) as host, ExitStack() as stack:
        require_programs(host)
        _hold(host, choice.ports, Owner.of(run), stack)
        _require_restored(host, choice)
        for bdf in (choice.ports.dut, choice.ports.partner):
            require(host, choice.host, bdf)
        require_hugepages(host, choice.host)
        yield RealLab(
            host=host,
            spec=choice.host,
            ports=choice.ports,
            fidelity=fidelity(host),
            qemu_version=parse_version(host.run(("qemu-system-x86_64", "--version")).text),
            guest=deploy(host, ensure_image(progress=progress).micro_guest),
        )


def _hold(host: Host, ports: PortPair, owner: Owner, stack: ExitStack) -> None:
    """The host and both ports are ours; the ports too, since others lock ports only."""
    stack.enter_context(host_lock(host, owner))
    for bdf in (ports.dut, ports.partner):
        stack.enter_context(port_lock(host, bdf, owner))


def _require_restored(host: Host, choice: RealChoice) -> None:
    """ConfigError if a run left changes behind, or commands under way, that is no longer alive."""
    if running := strays(host):
        raise ConfigError(
            f"{host.name}: what a run that was killed had started there still runs: "
            f"{', '.join(sorted(set(running)))}",
            remedy=choice.restore,
        )
    runs = left_over(host, {owner.run for owner in owners(host)})
    if runs:
        raise ConfigError(
            f"{host.name}: changes are left over from runs that did not come to their end: "
            f"{', '.join(runs)}",
            remedy=choice.restore,
        )
