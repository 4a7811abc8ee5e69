"""Which lab a run takes, as `--lab` asks for it, and why."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from harness.core.errors import ConfigError
from harness.inventory import HostSpec, Inventory, PortPair, reading
from harness.inventory.reading import InventoryError
from harness.labs.shape import LabShape
from harness.tuning.placement import Room

AUTO, NESTED = "auto", "nested"

USUAL = LabShape()


@dataclass(frozen=True)
class NestedChoice:
    """The nested lab."""

    real: ClassVar[bool] = False
    most: ClassVar[int | None] = None  # workers, each with one of its own: as many as you like
    why: str
    ports: PortPair = field(default_factory=PortPair)

    def testing(self, bdf: str) -> NestedChoice:
        """With `bdf` as the port under test; ConfigError if the lab has no such port."""
        return replace(self, ports=self.ports.testing(bdf))

    def with_room(self, shape: LabShape, room: Room) -> LabShape:
        """The lab's shape, with room for that; ConfigError if it cannot have it."""
        return shape.with_room(room)

    def describe(self) -> str:
        """In one line."""
        return f"the nested lab: {self.why}"


@dataclass(frozen=True)
class RealChoice:
    """Two cabled ports of a host of an inventory, or of two; beside it, what other hosts would do
    as well."""

    real: ClassVar[bool] = True
    why: str
    inventory: Path
    host: HostSpec
    ports: PortPair
    remote_partner: HostSpec | None = None  # the link partner's, if it is another one
    others: tuple[RealChoice, ...] = ()

    @property
    def each(self) -> tuple[RealChoice, ...]:
        """This one and the others, each by itself, in the order of the inventory."""
        return (replace(self, others=()), *self.others)

    @property
    def most(self) -> int:
        """Workers at the most: each has a host to itself."""
        return len(self.each)

    def testing(self, bdf: str) -> RealChoice:
        """With `bdf` as the port under test, on the hosts where it is a port that has a partner
        there; ConfigError if there is no such port."""
        fit = tuple(
            replace(choice, ports=ports.testing(bdf))
            for choice in self.each
            for ports in itertools.islice(_pairs(choice.host, bdf), 1)
        )
        if not fit:
            hosts = tuple(choice.host for choice in self.each)
            raise _unfit(self.inventory, hosts, f"{bdf} ", "its partner on the same host")
        return replace(fit[0], others=fit[1:])

    def with_room(self, shape: LabShape, room: Room) -> LabShape:
        """The shape as it is; ConfigError if the host's CPUs for guests are too few."""
        cpus = self.host.cpus
        if room.needed and cpus and len(cpus) < room.guests:
            raise ConfigError(
                f"{self.inventory}: `cpus` of {self.host.name} names {len(cpus)}, and {room.why} "
                f"wants {room.guests}, so that each thread has one of its own",
                remedy="name more there, or leave out the largest values of --over",
            )
        return shape

    def describe(self) -> str:
        """In one line."""
        there = f" of {_where(self.remote_partner)}" if self.remote_partner else ""
        ports = f"{self.ports.dut} against {self.ports.partner}{there}"
        return f"{_where(self.host)}, {ports}: {self.why}"

    @property
    def claims(self) -> tuple[tuple[HostSpec, tuple[str, ...]], ...]:
        """The hosts of the run, each with its ports that are in it, in the order of their names: of
        two runs that want both hosts one is refused at the first of them, and holds nothing."""
        if self.remote_partner is None:
            return ((self.host, self.ports.here),)
        two = ((self.host, self.ports.here), (self.remote_partner, (self.ports.partner,)))
        return tuple(sorted(two, key=lambda claim: claim[0].name))

    def restore(self, host: HostSpec) -> str:
        """The command that undoes what a run left on a host."""
        inventory = ("--inventory", str(self.inventory))
        return shlex.join(("nicproof", "restore", host.name, *inventory))


def _where(host: HostSpec) -> str:
    return f"{host.name} ({'this machine' if host.local else host.address})"


Choice = NestedChoice | RealChoice


def require_together(choice: Choice) -> None:
    """ConfigError if the link partner is on another host: what a case sends and what it hears, and
    the kernel's log about both ports, are looked at in one place."""
    if isinstance(choice, RealChoice) and choice.remote_partner is not None:
        raise ConfigError(
            f"qualify needs both ports on one host, and this run takes {choice.describe()}",
            remedy="cable two ports of one host, or use --lab nested",
        )


def choose(asked: str, shape: LabShape = USUAL) -> Choice:
    """The lab that `asked` means: auto, nested, FILE or FILE#HOST.

    ConfigError if there is none such that can be used, or not of that shape.
    """
    choice = _choice(asked)
    if shape.chosen and isinstance(choice, RealChoice):
        raise ConfigError(
            f"{' '.join(shape.chosen)}: only the nested lab can have that, and this run takes "
            f"{choice.describe()}",
            remedy=f"--lab nested, or leave {' and '.join(shape.chosen)} out",
        )
    return choice


def _choice(asked: str) -> Choice:
    if asked == AUTO:
        return automatic(reading.find())
    if asked == NESTED:
        return NestedChoice("as --lab says")
    file, host = _parts(asked)
    return of_inventory(reading.read(file), host, "as --lab says")


def _parts(asked: str) -> tuple[Path, str]:
    """File and host of FILE#HOST; a file's own name may have a "#" in it."""
    file, separator, host = asked.rpartition("#")
    if not separator or os.path.exists(asked):  # a name that is too long is none
        return Path(asked), ""
    return Path(file), host


def automatic(path: Path | None) -> Choice:
    """A host of the inventory at `path`, if it has one that can be used, else the nested lab."""
    if path is None:
        return NestedChoice(f"there is no {reading.NAME} here, nor in ~/.config/nicproof")
    look = f"see nicproof inventory check {path}"
    try:
        return of_inventory(reading.read(path), "", f"{path} lists them")
    except InventoryError as error:
        count = len(error.problems)
        return NestedChoice(f"{path} has {count} error{'s' if count > 1 else ''}, {look}")
    except ConfigError as error:
        return NestedChoice(f"{error.message}, {look}")


def of_inventory(inventory: Inventory, name: str, why: str) -> RealChoice:
    """The first port of the host `name`, or of each host that has one, with its partner on the
    same host; if none has, the first one with its partner on another. ConfigError if there is none
    either."""
    hosts = (inventory.host(name),) if name else inventory.hosts
    fit = tuple(
        RealChoice(why, inventory.path, host, ports)
        for host in hosts
        for ports in itertools.islice(_pairs(host), 1)
    )
    if fit:
        return replace(fit[0], others=fit[1:])
    for host in hosts:
        for port in host.ports:
            if port.partner:
                ports = PortPair(
                    port.bdf, port.partner.bdf, host.may, host.binding, remote_partner=True
                )
                remote_partner = inventory.host(port.partner.host)
                return RealChoice(why, inventory.path, host, ports, remote_partner)
    raise _unfit(inventory.path, hosts, "", "a partner")


def require_room(choice: Choice, workers: int) -> None:
    """ConfigError unless there is a lab for each of so many workers of one run."""
    if choice.most is not None and workers > choice.most:
        assert isinstance(choice, RealChoice)
        names = ", ".join(each.host.name for each in choice.each)
        raise ConfigError(
            f"-n {workers}: a worker takes a host for itself, and there are {choice.most}: {names}",
            remedy=f"-n {choice.most} at the most, or --lab nested",
        )


def _pairs(host: HostSpec, bdf: str = "") -> Iterator[PortPair]:
    """Its ports whose partner is on the same host, each with that; of one port only, if named."""
    for port in host.ports:
        partner = port.partner
        if partner and partner.host == host.name and bdf in ("", port.bdf, partner.bdf):
            yield PortPair(port.bdf, partner.bdf, host.may, host.binding)


def _unfit(inventory: Path, hosts: tuple[HostSpec, ...], port: str, what: str) -> ConfigError:
    names = ", ".join(host.name for host in hosts)
    return ConfigError(
        f"{inventory}: no port {port}of {names} has {what}",
        remedy='say where its cable ends: partner = "BDF", or "HOST/BDF" for another host; '
        "`nicproof inventory discover HOST --probe` finds the cables within a host",
    )
