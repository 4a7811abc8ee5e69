"""What a network interface can do, from the text of ethtool and `ip -d -j link`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from harness.core.errors import LabError, RunOver
from harness.hosts.base import Host


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
    return Abilities(
        driver=info.get("driver", ""),
        version=info.get("version", ""),
        firmware=info.get("firmware-version", ""),
        speeds=parse_speeds(_said(host, ("ethtool", interface))) or None,
        offloads=parse_offered(_said(host, ("ethtool", "-k", interface))) or None,
        channels=parse_channels(_said(host, ("ethtool", "-l", interface))),
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


def parse_offered(text: str) -> tuple[str, ...]:
    """`ethtool -k`: the features but those that are off and fixed so."""
    pairs = (line.strip().partition(":") for line in text.splitlines()[1:])
    return tuple(name for name, _, state in pairs if state and state.split() != ["off", "[fixed]"])


def parse_channels(text: str) -> int | None:
    """`ethtool -l`: the most combined channels."""
    found = re.search(r"maximums:.*?Combined:\s*(\d+).*?Current", text, re.DOTALL)
    return int(found[1]) if found else None


def parse_clock(text: str) -> bool | None:
    """`ethtool -T`: is there a PTP hardware clock?"""
    found = re.search(r"(?:PTP Hardware Clock|Hardware timestamp provider index): (\w+)", text)
    return found[1] != "none" if found else None


class _Limits(msgspec.Struct):
    max_mtu: int | None = None


def parse_max_mtu(text: str) -> int | None:
    """`ip -d -j link`: the largest MTU that the driver takes; 0 there means that it sets none."""
    try:
        links = msgspec.json.decode(text or "[]", type=list[_Limits])
    except msgspec.DecodeError:
        return None
    return links[0].max_mtu or None if links else None
