"""What no single value of an inventory can show: values that contradict one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.inventory.lines import KeyPath
from harness.inventory.spec import HostSpec, PortRef, nearest

Contradiction = tuple[KeyPath, str, str]
"""Where it shows, what is wrong, how to mend it."""


def contradictions(hosts: Sequence[HostSpec]) -> Iterator[Contradiction]:
    """All that contradicts itself in hosts that are well-formed each by itself."""
    for host in hosts:
        yield from _in_vain(host)
    yield from _one_machine_twice(hosts)
    yield from _one_port_twice(hosts)
    yield from _partners(hosts)
    yield from _places(hosts)


def _in_vain(host: HostSpec) -> Iterator[Contradiction]:
    """What ssh is told although it is not used, or twice."""
    for key in ("jump", "user", "become", "ssh_port", "identity", "ssh_config", "known_hosts"):
        if host.local and getattr(host, key):
            what = "it is for ssh, and this host is the machine that nicproof runs on"
            instead = "; start nicproof itself by sudo" if key == "become" else ""
            yield ("host", host.name, key), what, f"leave it out{instead}"
    if host.user and "@" in host.address:
        what = f"the address names {host.address.partition('@')[0]} already"
        yield ("host", host.name, "user"), what, "say it in one place"


def _one_machine_twice(hosts: Sequence[HostSpec]) -> Iterator[Contradiction]:
    """Two names for one machine would let two runs share its CPUs unawares."""
    names: dict[tuple[object, ...], str] = {}
    for host in hosts:
        reached = (host.address, host.jump, host.ssh_port)
        first = names.setdefault(reached, host.name)
        if first != host.name:
            what = f"it is reached as host {first} is: one machine under two names"
            yield ("host", host.name, "address"), what, f"list all its ports under {first}"


def _one_port_twice(hosts: Sequence[HostSpec]) -> Iterator[Contradiction]:
    for host in hosts:
        seen: set[str] = set()
        for index, port in enumerate(host.ports):
            if port.bdf in seen:
                what = f"{port.bdf} is listed twice on {host.name}"
                yield _at(host, index, "bdf"), what, "keep one of the two"
            seen.add(port.bdf)


def _partners(hosts: Sequence[HostSpec]) -> Iterator[Contradiction]:
    """A cable has two ends, and both tell the same of it."""
    listed = {PortRef(host.name, port.bdf): port.partner for host in hosts for port in host.ports}
    names = [host.name for host in hosts]
    claimed: dict[PortRef, PortRef] = {}
    for host in hosts:
        for index, port in enumerate(host.ports):
            if port.partner is None:
                continue
            here, there = PortRef(host.name, port.bdf), port.partner
            at = _at(host, index, "partner")
            if there == here:
                yield at, "it is its own partner", "name the port at the other end of its cable"
            elif there.host not in names:
                yield at, f"there is no host {there.host}", nearest(there.host, names)
            elif there.host != host.name and there not in listed:
                what = f"{there.host} lists no port {there.bdf}"
                yield at, what, f"only what [[host.{there.host}.port]] lists may be touched there"
            elif listed.get(there) not in (None, here):
                what = f"{there} names {listed[there]} as its partner, not {here}"
                yield at, what, "make the two name one another"
            elif claimed.setdefault(there, here) != here:
                what = f"{there} is the partner of {claimed[there]} already"
                yield at, what, "a cable has two ends"


def _places(hosts: Sequence[HostSpec]) -> Iterator[Contradiction]:
    """A place is acquired as a whole, so whoever releases it for one host does for the other."""
    names: dict[str, str] = {}
    for host in hosts:
        if host.place is None:
            continue
        at = ("host", host.name, "place")
        if not host.place.coordinator:
            what = "no coordinator of labgrid is named"
            yield at, what, 'say it under [lab]: labgrid = "HOST:20408"'
        first = names.setdefault(host.place.name, host.name)
        if first != host.name:
            what = f"{host.place.name} is the place of host {first}"
            yield at, what, "make a place of labgrid's for each host"


def _at(host: HostSpec, index: int, key: str) -> KeyPath:
    return ("host", host.name, "port", index, key)
