"""The machines that the harness may work with, as an inventory names them: frozen data."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.core.errors import ConfigError
from harness.hosts import sshpath
from harness.journal.permissions import Binding, BindMode, Holder, Permission

LOCAL = "local"
"""The address of the machine that nicproof itself runs on."""

Become = Literal["sudo"]
"""How an account that is not root has its commands done by root."""


@dataclass(frozen=True, order=True)
class PortRef:
    """A port of some host of the inventory."""

    host: str
    bdf: str

    def __str__(self) -> str:
        return f"{self.host}/{self.bdf}"


@dataclass(frozen=True)
class PortSpec:
    """A port that may be put to the test. `model` is a profile's name, "" if none is asked for."""

    bdf: str
    model: str = ""
    partner: PortRef | None = None


@dataclass(frozen=True)
class Place:
    """A place of labgrid's: what is reserved there as a whole, and the coordinator that does it."""

    coordinator: str  # HOST or HOST:PORT
    name: str

    def __str__(self) -> str:
        return f"place {self.name} at {self.coordinator}"


@dataclass(frozen=True)
class HostSpec:
    """A machine with ports, and how it is reached.

    `address` is LOCAL or what ssh(1) takes for a destination. What is not given here the user's
    own ssh configuration decides.
    """

    name: str
    address: str
    ports: tuple[PortSpec, ...] = ()
    jump: str = ""
    user: str = ""
    become: Become | Literal[""] = ""  # how that user's commands are done by root; "" if it is root
    ssh_port: int | None = None
    identity: Path | None = None
    ssh_config: Path | None = None
    known_hosts: Path | None = None
    cpus: tuple[int, ...] = ()  # for guests, vhost threads and interrupts; empty: any
    numa: int | None = None
    hugepages: int = 0  # 2 MiB pages that guests may take
    may: frozenset[Permission] = frozenset()
    bind: BindMode = "driver_override"
    hold: Holder = "pci-stub"
    place: Place | None = None  # to be acquired before anything is done there

    @property
    def local(self) -> bool:
        return self.address == LOCAL

    @property
    def touchable(self) -> frozenset[str]:
        """BDFs that this inventory lists on this host, by a port of their own or as the partner of
        one. No other may be touched."""
        own = {port.bdf for port in self.ports}
        return frozenset(own | {ref.bdf for ref in self.partners if ref.host == self.name})

    @property
    def binding(self) -> Binding:
        return Binding(self.bind, self.hold, self.touchable)

    def partners_of(self, bdf: str) -> frozenset[str]:
        """BDFs of its own ports that are cabled to its port `bdf`."""
        cables = [
            {port.bdf, port.partner.bdf}
            for port in self.ports
            if port.partner and port.partner.host == self.name
        ]
        return frozenset().union(*(ends for ends in cables if bdf in ends)) - {bdf}

    @property
    def partners(self) -> tuple[PortRef, ...]:
        return tuple(port.partner for port in self.ports if port.partner)

    def ssh_options(self) -> tuple[str, ...]:
        """OpenSSH's options for it, each value a word of its own.

        A `known_hosts` file is the inventory's own: it learns a host's key at the first login and
        from then on stands by it (StrictHostKeyChecking in ssh_config(5)).
        """
        options: list[str] = []
        if self.ssh_config:
            options += ("-F", str(self.ssh_config))
        if self.jump:
            options += ("-J", self.jump)
        if self.user:
            options += ("-l", self.user)
        if self.ssh_port is not None:
            options += ("-p", str(self.ssh_port))
        if self.identity:
            options += (*sshpath.option("IdentityFile", self.identity), "-o", "IdentitiesOnly=yes")
        if self.known_hosts:
            options += sshpath.option("UserKnownHostsFile", self.known_hosts)
            options += ("-o", "StrictHostKeyChecking=accept-new")
        return tuple(options)


@dataclass(frozen=True)
class Inventory:
    """A file of hosts."""

    path: Path
    hosts: tuple[HostSpec, ...]
    name: str = ""

    def host(self, name: str) -> HostSpec:
        """The host of this name; ConfigError, with the nearest known one, if there is none."""
        names = [host.name for host in self.hosts]
        if name not in names:
            raise ConfigError(f"{self.path}: no host {name!r}", remedy=nearest(name, names))
        return self.hosts[names.index(name)]


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """A remedy for a word that is none of the known ones."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"one of: {', '.join(known)}" if known else "there is none"
