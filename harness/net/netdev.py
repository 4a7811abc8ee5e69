"""Network interfaces of a host: what `ip -j` says of them, and macvtap, journalled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand, UndoWrite
from harness.journal.modules import load


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


class Rings(msgspec.Struct, frozen=True):
    """Descriptors of an interface's queues, and the most that there can be."""

    rx: int
    tx: int
    rx_max: int
    tx_max: int


class Coalescing(msgspec.Struct, frozen=True):
    """How an interface holds back its interrupts.

    None is what its driver does not have. Times are the least between two interrupts, in
    microseconds; to some drivers small ones mean "adaptive", and tx_usecs of 0 that both directions
    share a vector, and rx_usecs with it (igb_get_coalesce, ixgbe_get_coalesce).
    """

    rx_usecs: int | None = None
    tx_usecs: int | None = None
    adaptive_rx: bool | None = None  # does the driver choose the time itself?
    adaptive_tx: bool | None = None

    def fixed(self, usecs: int) -> Coalescing:
        """These settings, but with `usecs` in each direction that has its own, and not adaptive."""
        return Coalescing(
            rx_usecs=usecs,
            tx_usecs=self.tx_usecs and usecs,
            adaptive_rx=self.adaptive_rx and False,
            adaptive_tx=self.adaptive_tx and False,
        )

    def __str__(self) -> str:
        parts = [f"rx-usecs {self.rx_usecs}"]
        parts += [f"tx-usecs {self.tx_usecs}"] if self.tx_usecs else []
        parts += ["adaptive"] if self.adaptive_rx or self.adaptive_tx else []
        return ", ".join(parts)


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


def link(host: Host, interface: str) -> Link:
    """The interface's state; CommandFailed if there is none of that name."""
    return parse_links(host.run(("ip", "-j", "link", "show", "dev", interface)).text)[0]


def interface_with(host: Host, mac: str, *, seconds: float = 15.0) -> str:
    """Name of the interface that has this address, as soon as its driver has made it."""

    def look() -> str | None:
        links = parse_links(host.run(("ip", "-j", "link", "show")).text)
        return next((each.ifname for each in links if each.address == mac), None)

    return Deadline(seconds, f"an interface with address {mac} in {host.name}").poll(look)


def _of_driver(host: Host, option: str, interface: str) -> str:
    """What ethtool prints of a setting; "" if the driver has none. CommandFailed if it cannot be
    told, which is another matter.

    The text, for --json has no rings and no moderation before ethtool 6.2, and two names for one
    thing before 6.14.
    """
    shown = host.run(("ethtool", option, interface), check=False)
    if shown.returncode != 0 and "not supported" in shown.error.lower():
        return ""
    return shown.checked().text


def rings(host: Host, interface: str) -> Rings | None:
    """The interface's rings; None if its driver has none that could be set. CommandFailed if that
    cannot be told."""
    return parse_rings(_of_driver(host, "-g", interface))


_RINGS = re.compile(r"^(RX|TX):\s+(\d+)$", re.MULTILINE)


def parse_rings(text: str) -> Rings | None:
    """From the output of `ethtool -g`: the most there can be first. None if there are none."""
    most, now = (
        {name: int(number) for name, number in _RINGS.findall(part)}
        for part in text.partition("Current hardware settings:")[::2]
    )
    if not (most.keys() == now.keys() == {"RX", "TX"}):
        return None
    return Rings(rx=now["RX"], tx=now["TX"], rx_max=most["RX"], tx_max=most["TX"])


def set_rings(interface: str, rx: int, tx: int) -> tuple[str, ...]:
    """argv that sets the rings. An interface that is up loses its link for a moment."""
    return ("ethtool", "-G", interface, "rx", str(rx), "tx", str(tx))


def coalescing(host: Host, interface: str) -> Coalescing:
    """The interface's interrupt moderation; all None if its driver has none. CommandFailed if that
    cannot be told."""
    return parse_coalescing(_of_driver(host, "-c", interface))


_ADAPTIVE = re.compile(r"^Adaptive RX: (\S+)  TX: (\S+)$", re.MULTILINE)
_USECS = re.compile(r"^([rt]x)-usecs:\s+(\d+)$", re.MULTILINE)


def parse_coalescing(text: str) -> Coalescing:
    """From the output of `ethtool -c`, in which "n/a" is what the driver does not have."""
    usecs = {way: int(number) for way, number in _USECS.findall(text)}
    adaptive = _ADAPTIVE.search(text)
    words = adaptive.groups() if adaptive else ("n/a", "n/a")
    rx, tx = ({"on": True, "off": False}.get(word) for word in words)
    return Coalescing(usecs.get("rx"), usecs.get("tx"), rx, tx)


SET_COALESCING = 'ethtool -C "$@" || [ $? -eq 80 ]'
"""80 is how ethtool's older half (ioctl) says that all is so already (do_scoalesce, ethtool.c)."""


def set_coalescing(interface: str, wanted: Coalescing) -> tuple[str, ...]:
    """argv that sets what of `wanted` is not None."""
    words: list[str] = []
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if value is not None:
            text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            words += (name.replace("_", "-"), text)
    return ("sh", "-c", SET_COALESCING, "sh", interface, *words)


def coalescing_back(interface: str, prior: Coalescing) -> tuple[UndoCommand, ...]:
    """The undo of a change, where `prior` has rx_usecs at least. Times come first: while a driver
    is told to choose them, it may refuse others (ice_set_rc_coalesce)."""
    settings = [Coalescing(prior.rx_usecs, prior.tx_usecs)]
    choices = Coalescing(adaptive_rx=prior.adaptive_rx, adaptive_tx=prior.adaptive_tx)
    if choices != Coalescing():
        settings.append(choices)
    there = f"/sys/class/net/{interface}"
    return tuple(UndoCommand(set_coalescing(interface, each), when=there) for each in settings)


def parse_offloads(text: str) -> dict[str, bool]:
    """Feature name -> on, from the output of `ethtool -k`."""
    offloads = {}
    for line in text.splitlines()[1:]:
        name, colon, state = line.strip().partition(":")
        if colon and state.split():
            offloads[name] = state.split()[0] == "on"
    return offloads


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
