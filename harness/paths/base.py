"""What a network path is: what it needs, what it changes on the host, what it hands on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.core.facts import PathFacts
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.qemu.attachment import NicAttachment


@dataclass(frozen=True)
class PathOptions:
    """What a user may vary on a path: QEMU device properties, by kind of device, and how virtio
    is served."""

    vfio: str = ""  # extra properties of vfio-pci, e.g. "x-no-mmap=on"
    virtio: str = ""  # extra properties of virtio-net-pci, e.g. "packed=on"
    vhost: bool | None = None  # virtio-net: served by the host's kernel? None: as the path says
    queues: int = 1  # of virtio-net, pairs


class NetworkPath(Protocol):
    """One way for frames to get from the port under test to where the traffic ends."""

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str:
        """What it is, in one line."""

    @property
    def facts(self) -> PathFacts:
        """Its kind, and its colour: what reports know it by."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Capabilities of the host, in words, as `missing` names them."""

    @property
    def changes(self) -> tuple[str, ...]:
        """What it changes on the host, and how that is undone, in words."""

    @property
    def guest_drivers(self) -> tuple[str, ...]:
        """Kernel modules that its guest must have, so that the micro guest's image holds them."""

    @property
    def varies(self) -> tuple[str, ...]:
        """Options of a configuration, as fields of harness.runs.variant.Variant, that make a
        difference to it; those that no path names are a matter of every guest."""

    @property
    def usual(self) -> bool:
        """Is it compared unless paths are chosen?"""

    @property
    def has_guest(self) -> bool:
        """Does the traffic end in a guest, not on the host itself?"""

    def missing(self, host: Host, ports: PortPair) -> tuple[str, str] | None:
        """(capability, why) of the first thing this host lacks, or None."""

    def provision(
        self, host: Host, ports: PortPair, journal: Journal, options: PathOptions
    ) -> AbstractContextManager[NicAttachment]:
        """Make the path; leaving the context restores what was there before."""
