"""A host of an inventory as a lab: asked first whether it may be used, then held for the run. So is
that of its link partner, where it is another one.

Until all questions are answered nothing is changed there but locks. What a run then changes is in
the host's journal; what stays is the micro guest, in a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import get_args

from harness.core.errors import ConfigError
from harness.core.units import Clock, Fidelity
from harness.guest.image.micro import deploy
from harness.hosts.base import Host
from harness.hosts.orphans import orphans
from harness.inventory import HostSpec, PortPair
from harness.inventory.fields import cpu_list
from harness.inventory.view import ranges
from harness.journal.journal import Journal, left_over
from harness.journal.permissions import denied
from harness.labs.base import PartnerPort
from harness.labs.choice import RealChoice
from harness.labs.nested.image import ensure_image
from harness.labs.nested.toolchain import parse_version
from harness.labs.reach import reached
from harness.labs.real.fidelity import fidelity
from harness.labs.real.lock import Owner, host_lock, owners, port_lock
from harness.labs.real.memory import require_hugepages
from harness.labs.real.place import place_held
from harness.labs.real.ports import require
from harness.labs.real.programs import require_programs
from harness.qemu.config import DeployedImage, Hugepages
from harness.records.trial import TUNING
from harness.tuning.run import Tuning, tuned

STATUS, NODE = "/proc/self/status", "/sys/devices/system/node/node{}/cpulist"
"""Lists of CPUs: that a process may run on, with whatever systemd or a container has decided
(proc_pid_status(5)), and that are near (Documentation/ABI/stable/sysfs-devices-node)."""


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
    other_cpus: tuple[int, ...] = ()  # that the inventory does not name, near the ports
    remote_partner: PartnerPort | None = None  # the link partner's port, if it is on another host

    @property
    def partner_port(self) -> PartnerPort:
        return self.remote_partner or PartnerPort(
            self.host, self.ports.partner, self.ports.may, self.other_cpus
        )

    @property
    def cpus(self) -> tuple[int, ...]:
        return self.spec.cpus

    @property
    def lab_cpus(self) -> int:
        return 0

    @property
    def exit_cost_ns(self) -> int:
        return 0

    @property
    def hugepages(self) -> Hugepages | None:
        return Hugepages(self.spec.hugepages, self.spec.numa) if self.spec.hugepages else None

    @property
    def caveat(self) -> str:
        """A host that is a virtual machine itself is as good as any for what is counted."""
        if self.fidelity == "hardware":
            return ""
        other = f" or {self.remote_partner.host.name}" if self.remote_partner else ""
        return f"{self.host.name}{other} is a virtual machine itself ({self.fidelity})"

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
    """The host that was chosen, and the link partner's, held for `run` until the context ends.

    Raises ConfigError, with the reason, if a host, its place in labgrid or one of its ports must
    not be used as it is, and HostUnreachable if it cannot be reached.
    """
    owner = Owner.of(run)
    with ExitStack() as stack:
        hosts = {
            spec: stack.enter_context(_held(choice, spec, bdfs, owner))
            for spec, bdfs in choice.claims
        }
        host, remote_partner = hosts[choice.host], choice.remote_partner
        yield RealLab(
            host=host,
            spec=choice.host,
            ports=choice.ports,
            other_cpus=other_cpus(host, choice.host),
            remote_partner=PartnerPort(
                hosts[remote_partner],
                choice.ports.partner,
                remote_partner.may,
                remote_partner.cpus,
            )
            if remote_partner
            else None,
            fidelity=_lowest(map(fidelity, hosts.values())),
            qemu_version=parse_version(host.run(("qemu-system-x86_64", "--version")).text),
            guest=deploy(host, ensure_image(progress=progress).micro_guest),
        )


@contextmanager
def _held(
    choice: RealChoice, spec: HostSpec, bdfs: tuple[str, ...], owner: Owner
) -> Iterator[Host]:
    """A host, found fit: it and these ports are ours; the ports too, since others lock ports
    only."""
    guests = spec is choice.host
    with place_held(spec), reached(spec) as host, ExitStack() as stack:
        require_programs(host, guests=guests)
        stack.enter_context(host_lock(host, owner))
        for bdf in bdfs:
            stack.enter_context(port_lock(host, bdf, owner))
        _require_restored(host, choice.restore(spec))
        for bdf in bdfs:
            require(host, spec, bdf)
        if guests:
            require_hugepages(host, spec)
        yield host


def other_cpus(host: Host, spec: HostSpec) -> tuple[int, ...]:
    """Those of the host that are not for guests and that we may use, of the NUMA node that the
    inventory names if some are there; none if it leaves all to guests, or names none."""
    if not spec.cpus:
        return ()
    status = host.read(STATUS).decode()
    allowed = _cpus(status.partition("Cpus_allowed_list:")[2].partition("\n")[0])
    others = tuple(cpu for cpu in allowed if cpu not in spec.cpus)
    near: tuple[int, ...] = ()
    if spec.numa is not None:
        with suppress(FileNotFoundError):  # as of a kernel without NUMA
            near = _cpus(host.read(NODE.format(spec.numa)).decode())
    return tuple(cpu for cpu in others if cpu in near) or others


def _cpus(text: str) -> tuple[int, ...]:
    """A list as the kernel writes it, which may be empty, as of a node of memory only."""
    return cpu_list(text.strip()) if text.strip() else ()


def _lowest(found: Iterable[Fidelity]) -> Fidelity:
    """Rates and times are the whole link's, so they are worth what the lesser end's are."""
    return max(found, key=get_args(Fidelity).index)


def _require_restored(host: Host, remedy: str) -> None:
    """ConfigError if a run left changes behind, or commands under way, that is no longer alive."""
    if running := orphans(host):
        raise ConfigError(
            f"{host.name}: what a run that was killed had started there still runs: "
            f"{', '.join(sorted(set(running)))}",
            remedy=remedy,
        )
    runs = left_over(host, {owner.run for owner in owners(host)})
    if runs:
        raise ConfigError(
            f"{host.name}: changes are left over from runs that did not come to their end: "
            f"{', '.join(runs)}",
            remedy=remedy,
        )
