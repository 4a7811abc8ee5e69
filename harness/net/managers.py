"""What sets a host's interfaces up by itself: NetworkManager and systemd-networkd.

One that manages an interface asks for addresses there, sends frames of its own, and takes away
addresses that are not its own once it gives up. What is in a namespace they do not see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from harness.core.errors import LabError, RunOver
from harness.hosts.base import Host


@dataclass(frozen=True)
class Manager:
    """A kind of them. `ask` is a program of its own, `managed` tells from its words which
    interfaces it manages, and `keep_off` is a line of shell that keeps it off some interfaces and
    their VFs, which are called after them (systemd.net-naming-scheme(7))."""

    name: str
    ask: tuple[str, ...]
    managed: Callable[[str], set[str]]
    keep_off: Callable[[Collection[str]], str]


def managing(host: Host, interfaces: Sequence[str]) -> Iterator[tuple[Manager, tuple[str, ...]]]:
    """Who manages some of these, and which. Raises RunOver if the host is gone."""
    for each in MANAGERS:
        managed = each.managed(_told(host, each.ask))
        if found := tuple(name for name in interfaces if name in managed):
            yield each, found


def _told(host: Host, argv: tuple[str, ...]) -> str:
    """What its program says; nothing if that is not there, or the manager does not run."""
    try:
        return host.run(argv).text
    except RunOver:
        raise
    except LabError:
        return ""


def by_network_manager(text: str) -> set[str]:
    """The interfaces that NetworkManager manages: all that are not "unmanaged" (nmcli(1))."""
    pairs = (line.rpartition(":") for line in text.splitlines())
    return {name.replace("\\", "") for name, _, state in pairs if name and state != "unmanaged"}


def _off_network_manager(interfaces: Collection[str]) -> str:
    names = ";".join(f"interface-name:{each};interface-name:{each}v*" for each in interfaces)
    return (
        rf"printf '[keyfile]\nunmanaged-devices={names}\n' "
        ">/etc/NetworkManager/conf.d/nicproof.conf && nmcli general reload"
    )


FREE = ("unmanaged", "linger", "-", "n/a")


def by_networkd(text: str) -> set[str]:
    """The interfaces that networkd manages, by the last column: index, name, type, operational
    state, state of its set-up (networkctl(1)). None, if it does not run."""
    rows = (line.split() for line in re.sub("[^\x20-\x7e\n]", "", text).splitlines())
    return {row[1] for row in rows if len(row) == 5 and row[4] not in FREE}


def _off_networkd(interfaces: Collection[str]) -> str:
    names = " ".join(f"{each} {each}v*" for each in interfaces)
    return (
        rf"printf '[Match]\nName={names}\n[Link]\nUnmanaged=yes\n' "
        ">/etc/systemd/network/00-nicproof.network && networkctl reload"
    )


MANAGERS = (
    Manager(
        "NetworkManager",
        ("nmcli", "-t", "-f", "DEVICE,STATE", "device"),
        by_network_manager,
        _off_network_manager,
    ),
    Manager(
        "systemd-networkd",
        ("networkctl", "--no-legend", "--no-pager", "list"),
        by_networkd,
        _off_networkd,
    ),
)
