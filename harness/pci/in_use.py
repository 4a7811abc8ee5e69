"""Why a port must not be touched: it is in use by somebody, or may be.

A port under test loses its driver, its namespace and its link at times, and with them everything
that is built upon it. The journal puts back drivers, names and links, but neither routes nor
addresses nor interfaces stacked upon a port. So what has such things is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.hosts.base import Host
from harness.pci.device import Device
from harness.pci.usage import Address, Function, Interface, Usage, usage

HARMLESS = ("", "vfio-pci", "pci-stub")
"""Drivers under which a function has no interface and, if no program has it open, no use."""

STACKED = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "vxlan", "macsec")
"""Kinds of interfaces that name the one below them even from another namespace."""


@dataclass(frozen=True)
class Verdict:
    """Whether a port may be touched. A warning is worth knowing, and no reason against it."""

    refusals: tuple[str, ...]
    warnings: tuple[str, ...]


def refusals(host: Host, bdf: str) -> tuple[str, ...]:
    """Reasons why this port must not be touched; none if it is free. LabError if the host does not
    tell everything that has to be known."""
    return inspect(host, bdf).refusals


def inspect(host: Host, bdf: str) -> Verdict:
    """The same, with warnings."""
    return judge(usage(host, bdf))


def taken(host: Host, bdf: str) -> tuple[str, ...]:
    """Reasons to leave a function as it is though a run that was killed has changed it: somebody
    else has it, or its PF, by now. None if it is not there. LabError as `refusals`."""
    device = Device(host, bdf)
    return users(usage(host, device.pf or bdf)) if device.exists() else ()


def users(found: Usage) -> tuple[str, ...]:
    """Who would lose a port, or a VF of it: of `judge`'s reasons those that no run of ours leaves
    behind, as it does addresses, macvtaps and ports without an interface that can be seen."""
    reasons: list[str] = []
    for index, function in enumerate(found.functions):
        stack = _stack(found, function.interfaces)
        who = f"VF {function.bdf}" if index else function.bdf
        reasons += (*_opened(found, function, who), *_member(stack), *_carries(found, stack))
    return tuple(dict.fromkeys(reasons))


def judge(found: Usage) -> Verdict:
    """The verdict on a port, and on its VFs: whoever uses one of those loses it with the port."""
    refused: list[str] = []
    warned: list[str] = []
    for index, function in enumerate(found.functions):
        who = f"its VF {function.bdf}" if index else "it"
        refused += _held(found, function, who)
        stack = _stack(found, function.interfaces)
        refused += _uses(found, stack)
        refused += _other_namespaces(found, function.interfaces)
        for interface in stack:
            for address in _lasting(interface):
                message = f"{interface.ifname} has the address {address.local}/{address.prefixlen}"
                if address.dynamic:
                    warned.append(f"{message}, by DHCP or from a router: it comes back by itself")
                else:
                    refused.append(f"{message}, which nobody would put back")
    return Verdict(tuple(dict.fromkeys(refused)), tuple(dict.fromkeys(warned)))


def _held(found: Usage, function: Function, who: str) -> Iterator[str]:
    """By a program, or by something that cannot be seen."""
    yield from _opened(found, function, who)
    if function.driver not in HARMLESS and not function.interfaces:
        yield (
            f"{who} is bound to {function.driver} and has no interface in the host's own network "
            "namespace, so what uses it cannot be seen"
        )


def _opened(found: Usage, function: Function, who: str) -> Iterator[str]:
    for node in function.nodes:
        if node in found.opened:
            yield f"{who} is open, as {node}, in {found.opened[node]}"


def _stack(found: Usage, names: tuple[str, ...]) -> tuple[Interface, ...]:
    """Interfaces and all that is built upon them: masters, VLANs and the like, from below."""
    stack = [each for each in found.interfaces if each.ifname in names]
    for lower in stack:  # grows as we go
        above = (
            each
            for each in found.interfaces
            if each.link == lower.ifname or (lower.master and each.ifname == lower.master)
        )
        stack += [each for each in above if each not in stack]
    return tuple(stack)


def _uses(found: Usage, stack: tuple[Interface, ...]) -> Iterator[str]:
    """What is built upon an interface, and what goes through any part of that."""
    names = [each.ifname for each in stack]
    yield from _member(stack)
    for each in stack:
        if each.link in names:
            yield f"{each.ifname} ({each.linkinfo.info_kind}) is stacked upon {each.link}"
    yield from _carries(found, stack)


def _member(stack: tuple[Interface, ...]) -> Iterator[str]:
    for each in stack:
        if each.master:
            kind = each.linkinfo.info_slave_kind or "the device"
            yield f"{each.ifname} is a member of {kind} {each.master}"


def _carries(found: Usage, stack: tuple[Interface, ...]) -> Iterator[str]:
    """What the host would lose with these interfaces."""
    names = [each.ifname for each in stack]
    for route in found.routes:
        for hop in route.hops:
            if route.dst == "default" and hop.dev in names:
                via = f" via {hop.gateway}" if hop.gateway else ""
                yield f"{hop.dev} carries the default route{via} (table {route.table})"
    owners = {address.local: each.ifname for each in stack for address in each.addr_info}
    for peer in found.peers:
        dev = found.ways.get(peer.address, "")
        by = dev if dev in names else owners.get(peer.local, "")
        if by:
            yield f"{by} carries {peer.what}, with {peer.address}"


def _other_namespaces(found: Usage, names: tuple[str, ...]) -> Iterator[str]:
    """A container's macvlan upon the port shows in the container's namespace only.

    It names the port by its index and by a number for our namespace that we cannot check, so one
    upon a port of another namespace that happens to have the same index is refused too.
    """
    ours = {each.ifindex: each.ifname for each in found.interfaces if each.ifname in names}
    for namespace, interfaces in found.elsewhere.items():
        for each in interfaces:
            kind, lower = each.linkinfo.info_kind, ours.get(each.link_index)
            if each.link_netnsid is not None and lower and kind in STACKED:
                yield f"{each.ifname} ({kind}) in {namespace} is stacked upon {lower}"


def _lasting(interface: Interface) -> Iterator[Address]:
    """Those that somebody has given it: not the ones that every link gives itself (fe80::/10, RFC
    4291; 169.254.0.0/16, RFC 3927)."""
    for address in interface.addr_info:
        if address.local and address.scope != "link" and not address.local.startswith("169.254."):
            yield address
