"""A lab, as fixtures and suites see it: a host with a port whose cable ends there or on another
host, whichever kind it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.core.units import Clock, Fidelity
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.journal.permissions import Permission
from harness.qemu.config import DeployedImage, Hugepages
from harness.tuning.run import Tuning


@dataclass(frozen=True)
class PartnerPort:
    """The link partner's port: on the host under test, or on another one."""

    host: Host
    bdf: str
    may: frozenset[Permission]  # what may be changed there
    cpus: tuple[int, ...] = ()  # of that host, for what serves no guest; empty: any


class Lab(Protocol):
    """A host that is ready for its first command, and what is measured on it."""

    @property
    def host(self) -> Host: ...

    @property
    def ports(self) -> PortPair: ...

    @property
    def partner_port(self) -> PartnerPort: ...

    @property
    def fidelity(self) -> Fidelity: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def qemu_version(self) -> str:
        """Of the QEMU that runs guests on a real host, or L1 on the controller."""

    @property
    def guest(self) -> DeployedImage:
        """The micro guest, on the host's disk."""

    @property
    def cpus(self) -> tuple[int, ...]:
        """Of the host, for its guests; empty: any."""

    @property
    def lab_cpus(self) -> int:
        """How many the machine of a nested lab has; 0 of a real host."""

    @property
    def exit_cost_ns(self) -> int:
        """What each exit takes beside its handler's instructions, in a nested lab."""

    @property
    def hugepages(self) -> Hugepages | None:
        """Of the host, for its guests' memory; None: ordinary pages."""

    @property
    def caveat(self) -> str:
        """Why times that are measured here are of little use, "" if they are not."""

    def tuned(self, journal: Journal) -> AbstractContextManager[Tuning | None]:
        """The host made steady for a run, as far as its inventory allows; None: it is left alone.
        Afterwards it is as before."""

    def describe(self) -> dict[str, str]:
        """For the record of a run."""
