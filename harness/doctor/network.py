"""Who else has a hand in the interfaces of the ports: a firewall, managers of networks.

Most of a run's traffic ends in a guest or in a namespace of the harness's own, where neither
reaches. A port under test stays in the host's own, though.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness import firewall
from harness.doctor.facts import said
from harness.doctor.findings import Finding
from harness.errors import LabError, NotStarted, RunOver
from harness.host.base import Host
from harness.inventory.discover import known_ports
from harness.inventory.spec import HostSpec
from harness.pci.device import Device


def network(host: Host, spec: HostSpec) -> Iterator[Finding]:
    """What is said of the interfaces of the inventory's ports, or else of all that are known.
    Nothing fails by it."""
    bdfs = sorted(spec.touchable) or known_ports(host)
    interfaces = tuple(name for bdf in bdfs if (name := Device(host, bdf).interface))
    if not interfaces:
        return
    yield _input_policy(host, interfaces)
    yield from _managers(host, interfaces)


def _input_policy(host: Host, interfaces: tuple[str, ...]) -> Finding:
    name = "input policy"
    try:
        chains = {each: firewall.dropping(host, each) for each in interfaces}
    except RunOver:
        raise
    except LabError as error:
        remedy = "sudo apt-get install nftables" if isinstance(error, NotStarted) else ""
        return Finding(name, "note", f"cannot be told: {error.message}", remedy)
    dropped = {each: found for each, found in chains.items() if found}
    if not dropped:
        return Finding(name, "yes", "what comes in by the ports reaches the host")
    what = ", ".join(dict.fromkeys(str(each) for found in dropped.values() for each in found))
    commands = [each.accepting(port) for port, found in dropped.items() for each in found]
    return Finding(
        name,
        "note",
        f"the firewall drops what comes in by {', '.join(dropped)} ({what}): cases that send to "
        "the port's own address are skipped; guests and native are not concerned",
        "; ".join(commands),
    )


NETWORK_MANAGER = ("nmcli", "-t", "-f", "DEVICE,STATE", "device")
NETWORKD = ("networkctl", "--no-legend", "--no-pager", "list")


def _managers(host: Host, interfaces: tuple[str, ...]) -> Iterator[Finding]:
    """NetworkManager and systemd-networkd, each with the lines that keep it off the ports and what
    VFs of theirs are called (systemd.net-naming-scheme(7))."""
    if managed := _kept(interfaces, by_network_manager(_told(host, NETWORK_MANAGER))):
        names = ";".join(f"interface-name:{each};interface-name:{each}v*" for each in managed)
        yield _manager(
            "NetworkManager",
            managed,
            rf"printf '[keyfile]\nunmanaged-devices={names}\n' "
            ">/etc/NetworkManager/conf.d/nicproof.conf && nmcli general reload",
        )
    if managed := _kept(interfaces, by_networkd(_told(host, NETWORKD))):
        names = " ".join(f"{each} {each}v*" for each in managed)
        yield _manager(
            "systemd-networkd",
            managed,
            rf"printf '[Match]\nName={names}\n[Link]\nUnmanaged=yes\n' "
            ">/etc/systemd/network/00-nicproof.network && networkctl reload",
        )


def _manager(name: str, managed: tuple[str, ...], remedy: str) -> Finding:
    detail = (
        f"manages {', '.join(managed)}: it asks for addresses there, and sends frames of its own "
        "in the middle of a trial"
    )
    return Finding(name, "note", detail, remedy)


def _told(host: Host, argv: tuple[str, ...]) -> str:
    """What a manager's program says; nothing if it is not there, or its manager does not run."""
    try:
        return said(host, argv) or ""
    except NotStarted:
        return ""


def _kept(interfaces: tuple[str, ...], managed: set[str]) -> tuple[str, ...]:
    return tuple(each for each in interfaces if each in managed)


def by_network_manager(text: str) -> set[str]:
    """The interfaces that NetworkManager manages: all that are not "unmanaged" (nmcli(1))."""
    pairs = (line.rpartition(":") for line in text.splitlines())
    return {name.replace("\\", "") for name, _, state in pairs if name and state != "unmanaged"}


FREE = ("unmanaged", "linger", "-", "n/a")


def by_networkd(text: str) -> set[str]:
    """The interfaces that networkd manages, by the last column: index, name, type, operational
    state, state of its set-up (networkctl(1)). None, if it does not run."""
    rows = (line.split() for line in re.sub("[^\x20-\x7e\n]", "", text).splitlines())
    return {row[1] for row in rows if len(row) == 5 and row[4] not in FREE}
