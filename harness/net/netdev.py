"""Network interfaces of a host: what `ip -j` says of them, and macvtap, journalled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand, UndoWrite
from harness.journal.modules import load
from harness.net.netns import inside


class Link(msgspec.Struct, frozen=True):
    """One interface as `ip -j link show` prints it; fields we do not use are passed over."""

    ifindex: int
    ifname: str
    flags: tuple[str, ...]
    mtu: int
    operstate: str = "UNKNOWN"
    address: str = ""

    @property
    def carrier(self) -> bool:
        return "LOWER_UP" in self.flags


class Neighbour(msgspec.Struct, frozen=True):
    """One entry as `ip -j neigh show` prints it."""

    dst: str
    dev: str = ""
    lladdr: str = ""


def parse_links(text: str) -> tuple[Link, ...]:
    """From the output of `ip -j link show`; LabError if it is not that."""
    return _decode(text, tuple[Link, ...])


def parse_neighbours(text: str) -> tuple[Neighbour, ...]:
    """From the output of `ip -j neigh show`; LabError if it is not that."""
    return _decode(text, tuple[Neighbour, ...])


T = TypeVar("T")


def _decode(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text or "[]", type=kind)
    except msgspec.DecodeError as error:
        raise LabError(
            f"ip printed what is not the JSON expected: {error}: {text[:200]!r}"
        ) from error


def link(host: Host, interface: str, netns: str = "") -> Link:
    """The interface's state; CommandFailed if there is none of that name."""
    argv = inside(netns, ("ip", "-j", "link", "show", "dev", interface))
    return parse_links(host.run(argv).text)[0]


def interface_with(host: Host, mac: str, *, seconds: float = 15.0) -> str:
    """Name of the interface that has this address, as soon as its driver has made it."""

    def look() -> str | None:
        links = parse_links(host.run(("ip", "-j", "link", "show")).text)
        return next((each.ifname for each in links if each.address == mac), None)

    return Deadline(seconds, f"an interface with address {mac} in {host.name}").poll(look)


@contextmanager
def answers_arp_only_for_itself(host: Host, interface: str, journal: Journal) -> Iterator[None]:
    """`interface` answers ARP for its own addresses only, not for those of its neighbours.

    By default Linux answers on any interface for any address of the machine, so that of two
    interfaces on one link either may get the other's traffic (arp_ignore in
    Documentation/networking/ip-sysctl.rst).
    """
    path = f"/proc/sys/net/ipv4/conf/{interface}/arp_ignore"
    prior = host.read(path).decode().strip()
    with journal.change(f"set {path} to 1", (UndoWrite(path, prior),)):
        host.write(path, b"1")
        yield


@contextmanager
def resized(
    host: Host, interface: str, mtu: int, journal: Journal, netns: str = ""
) -> Iterator[None]:
    """The interface with this MTU; afterwards with the one that it had. What is made upon it
    meanwhile has it, too. ConfigError if its driver refuses."""
    prior = link(host, interface, netns).mtu
    there = f"/run/netns/{netns}" if netns else f"/sys/class/net/{interface}"
    undo = UndoCommand(_mtu(interface, prior, netns), when=there)
    with journal.change(f"set the MTU of {interface} to {mtu}", (undo,)):
        resize(host, interface, mtu, netns)
        yield


def resize(host: Host, interface: str, mtu: int, netns: str = "") -> None:
    """Set its MTU, of an interface that ends with its guest or its VF. ConfigError if its driver
    refuses."""
    if link(host, interface, netns).mtu == mtu:
        return  # a driver may take its link down for what changes nothing
    answer = host.run(_mtu(interface, mtu, netns), check=False)
    if answer.returncode or link(host, interface, netns).mtu != mtu:
        raise ConfigError(
            f"--mtu {mtu}: {interface} of {host.name} refuses it: {answer.error.strip()}",
            remedy="give one that both ends take: `ip -d link` shows the maxmtu of each",
        )


def _mtu(interface: str, mtu: int, netns: str) -> tuple[str, ...]:
    return inside(netns, ("ip", "link", "set", "dev", interface, "mtu", str(mtu)))


MACVTAP = ("macvtap", "/sys/class/macvtap")
"""The module, and what shows that it is there."""


@dataclass(frozen=True)
class MacVtap:
    """A macvtap in bridge mode: a guest's address registered with the PF, frames via a file."""

    interface: str
    device: str  # "/dev/tapN", for QEMU to inherit


@contextmanager
def macvtap(
    host: Host, lower: str, name: str, mac: str, journal: Journal, *, up: bool = True
) -> Iterator[MacVtap]:
    """A macvtap `name` with address `mac` upon interface `lower`; removed afterwards.

    macvtap, not a bridge: with VFs enabled a PF need not be promiscuous, so a bridge upon it may
    lose the guest's unicast frames, while a macvtap registers the guest's address with the PF.
    It does so when it is set up; two of one address cannot both be up (drivers/net/macvlan.c,
    macvlan_open).
    """
    load(host, *MACVTAP, journal)
    undo = UndoCommand(("ip", "link", "del", name), when=f"/sys/class/net/{name}")
    with journal.change(f"made macvtap {name} upon {lower}", (undo,)):
        state = ("up",) if up else ()
        add = ("ip", "link", "add", "link", lower, "name", name, "address", mac, *state)
        host.run((*add, "type", "macvtap", "mode", "bridge"))
        yield MacVtap(name, f"/dev/tap{link(host, name).ifindex}")
