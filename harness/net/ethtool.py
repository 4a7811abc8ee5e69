"""ethtool: what an interface can do and how it is set, from its text, and the commands that set it.

The text, for --json has no rings and no moderation before ethtool 6.2, and two names for one thing
before 6.14.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from harness.core.errors import LabError, RunOver
from harness.hosts.base import Host
from harness.journal.journal import UndoCommand
from harness.net.netns import inside


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


@dataclass(frozen=True)
class Channels:
    """Pairs of receive and transmit queues: how many there can be, and are."""

    most: int
    now: int


@dataclass(frozen=True)
class Feature:
    """One line of `ethtool -k`."""

    on: bool
    fixed: bool  # the driver does not let it be set

    @property
    def offered(self) -> bool:
        """Is it on, or can it be switched on?"""
        return self.on or not self.fixed


@dataclass(frozen=True)
class Abilities:
    """What driver and firmware offer, whether it is switched on or not. None is not known."""

    driver: str
    version: str
    firmware: str
    speeds: tuple[int, ...] | None  # Mbit/s; a VF's driver tells none
    offloads: tuple[str, ...] | None  # those that are on or can be switched on
    channels: int | None  # most pairs of queues; None if the driver does not let them be counted
    clock: bool | None  # a PTP hardware clock
    max_mtu: int | None  # bytes


def abilities(host: Host, interface: str) -> Abilities:
    """Ask ethtool and ip about `interface`. What they do not tell is None."""
    info = parse_info(_said(host, ("ethtool", "-i", interface)))
    features = parse_features(_said(host, ("ethtool", "-k", interface)))
    channels = parse_channels(_said(host, ("ethtool", "-l", interface)))
    return Abilities(
        driver=info.get("driver", ""),
        version=info.get("version", ""),
        firmware=info.get("firmware-version", ""),
        speeds=parse_speeds(_said(host, ("ethtool", interface))) or None,
        offloads=tuple(name for name, each in features.items() if each.offered) or None,
        channels=channels.most if channels else None,
        clock=parse_clock(_said(host, ("ethtool", "-T", interface))),
        max_mtu=parse_max_mtu(_said(host, ("ip", "-d", "-j", "link", "show", "dev", interface))),
    )


def _said(host: Host, argv: tuple[str, ...]) -> str:
    """What a command printed; nothing if it failed or the host does not have it."""
    try:
        result = host.run(argv, check=False)
    except RunOver:
        raise
    except LabError:
        return ""
    return result.text if result.returncode == 0 else ""


def parse_info(text: str) -> dict[str, str]:
    """`ethtool -i`: one "name: value" a line."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_speeds(text: str) -> tuple[int, ...]:
    """`ethtool DEV`: the supported link modes' speeds, in Mbit/s, rising."""
    found = re.search(r"Supported link modes:(.*?)Supported pause", text, re.DOTALL)
    modes = re.findall(r"(\d+)base", found[1]) if found else []
    return tuple(sorted({int(speed) for speed in modes}))


def speed(host: Host, interface: str, netns: str = "") -> int | None:
    """Of the interface's link, in Mbit/s; None if that is not known."""
    return parse_speed(_said(host, inside(netns, ("ethtool", interface))))


def parse_speed(text: str) -> int | None:
    """`ethtool DEV`: the link's speed, in Mbit/s; None if there is no link, or it has none."""
    found = re.search(r"^\s*Speed: (\d+)Mb/s$", text, re.MULTILINE)
    return int(found[1]) if found else None


def parse_features(text: str) -> dict[str, Feature]:
    """`ethtool -k`: features by their names."""
    features = {}
    for line in text.splitlines()[1:]:
        name, colon, state = line.strip().partition(":")
        if colon and (words := state.split()):
            features[name] = Feature(on=words[0] == "on", fixed="[fixed]" in words)
    return features


_COMBINED = re.compile(r"^Combined:\s+(\d+)", re.MULTILINE)


def parse_channels(text: str) -> Channels | None:
    """`ethtool -l`: combined channels; None if there are none."""
    numbers = [int(number) for number in _COMBINED.findall(text)]
    return Channels(*numbers) if len(numbers) == 2 else None


def parse_statistics(text: str) -> dict[str, int]:
    """`ethtool -S`: the driver's own counters."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(":")
        if value.strip().isdigit():
            found[name.strip()] = int(value)
    return found


_ROW = re.compile(r"^\s*\d+:((?:\s+\d+)+)\s*$", re.MULTILINE)


def parse_indirection(text: str) -> tuple[int, ...]:
    """`ethtool -x`: the RSS indirection table."""
    return tuple(int(queue) for row in _ROW.findall(text) for queue in row.split())


def parse_clock(text: str) -> bool | None:
    """`ethtool -T`: is there a PTP hardware clock?"""
    found = re.search(r"(?:PTP Hardware Clock|Hardware timestamp provider index): (\w+)", text)
    return found[1] != "none" if found else None


def _of_driver(host: Host, option: str, interface: str, netns: str = "") -> str:
    """What ethtool prints of a setting; "" if the driver has none. CommandFailed if it cannot be
    told, which is another matter."""
    shown = host.run(inside(netns, ("ethtool", option, interface)), check=False)
    if shown.returncode != 0 and "not supported" in shown.error.lower():
        return ""
    return shown.checked().text


def rings(host: Host, interface: str, netns: str = "") -> Rings | None:
    """The interface's rings; None if its driver has none that could be set. CommandFailed if that
    cannot be told."""
    return parse_rings(_of_driver(host, "-g", interface, netns))


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


SET = 'ethtool "$@" || [ $? -eq 80 ]'
"""80 is how ethtool's older half (ioctl) says that all is so already (do_scoalesce and do_sring in
ethtool.c)."""


def set_rings(interface: str, rx: int, tx: int) -> tuple[str, ...]:
    """argv that sets the rings. An interface that is up loses its link for a moment."""
    return ("sh", "-c", SET, "sh", "-G", interface, "rx", str(rx), "tx", str(tx))


def coalescing(host: Host, interface: str, netns: str = "") -> Coalescing:
    """The interface's interrupt moderation; all None if its driver has none. CommandFailed if that
    cannot be told."""
    return parse_coalescing(_of_driver(host, "-c", interface, netns))


_ADAPTIVE = re.compile(r"^Adaptive RX: (\S+)  TX: (\S+)$", re.MULTILINE)
_USECS = re.compile(r"^([rt]x)-usecs:\s+(\d+)$", re.MULTILINE)


def parse_coalescing(text: str) -> Coalescing:
    """From the output of `ethtool -c`, in which "n/a" is what the driver does not have."""
    usecs = {way: int(number) for way, number in _USECS.findall(text)}
    adaptive = _ADAPTIVE.search(text)
    words = adaptive.groups() if adaptive else ("n/a", "n/a")
    rx, tx = ({"on": True, "off": False}.get(word) for word in words)
    return Coalescing(usecs.get("rx"), usecs.get("tx"), rx, tx)


def set_coalescing(interface: str, wanted: Coalescing) -> tuple[str, ...]:
    """argv that sets what of `wanted` is not None."""
    words: list[str] = []
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if value is not None:
            text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            words += (name.replace("_", "-"), text)
    return ("sh", "-c", SET, "sh", "-C", interface, *words)


def coalescing_back(interface: str, prior: Coalescing) -> tuple[UndoCommand, ...]:
    """The undo of a change, where `prior` has rx_usecs at least. Times come first: while a driver
    is told to choose them, it may refuse others (ice_set_rc_coalesce)."""
    settings = [Coalescing(prior.rx_usecs, prior.tx_usecs)]
    choices = Coalescing(adaptive_rx=prior.adaptive_rx, adaptive_tx=prior.adaptive_tx)
    if choices != Coalescing():
        settings.append(choices)
    there = f"/sys/class/net/{interface}"
    return tuple(UndoCommand(set_coalescing(interface, each), when=there) for each in settings)


class _Limits(msgspec.Struct):
    max_mtu: int | None = None


def parse_max_mtu(text: str) -> int | None:
    """`ip -d -j link`: the largest MTU that the driver takes; 0 there means that it sets none."""
    try:
        links = msgspec.json.decode(text or "[]", type=list[_Limits])
    except msgspec.DecodeError:
        return None
    return links[0].max_mtu or None if links else None
