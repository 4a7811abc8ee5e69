"""Which ports of a host are cabled to one another, found by sending frames between them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, LabError
from harness.hosts.base import Host
from harness.hosts.program import last_words, program
from harness.journal.journal import Journal
from harness.labs.real.lock import DIRECTORY, Owner, port_lock
from harness.net.netdev import link
from harness.pci.sriov import link_up

ROUNDS, INTERVAL_MS = 5, 200
"""A frame may be lost, or be too early for a link that has just come up."""

CARRIER_S = 10.0
"""Seconds that a link may take to come up: copper negotiates for some, 10GBASE-T longest."""


def cables(
    host: Host, ports: dict[str, str], owner: Owner, journal: Journal, *, locks: str = DIRECTORY
) -> tuple[tuple[str, str], ...]:
    """Pairs of BDFs that hear one another, of `ports` (BDF -> interface), which must be free.

    Each is locked, set up if it was down, and afterwards down again. ConfigError if a port is in
    use by another run, LabError if frames cannot be sent.
    """
    with ExitStack() as stack:
        for bdf, interface in ports.items():
            stack.enter_context(port_lock(host, bdf, owner, directory=locks))
            stack.enter_context(link_up(host, interface, journal))
        _await_carriers(host, ports.values())
        heard = probe(host, tuple(ports.values()))
    bdf_of = {interface: bdf for bdf, interface in ports.items()}
    return tuple((bdf_of[one], bdf_of[other]) for one, other in pairs(heard))


def probe(host: Host, interfaces: Sequence[str]) -> frozenset[tuple[str, str]]:
    """(hearer, sender) of all frames heard. LabError if an interface refuses."""
    agent = program(__package__, "cabling")
    arguments = (uuid.uuid4().hex, str(ROUNDS), str(INTERVAL_MS), *interfaces)
    result = host.run((*agent, *arguments), check=False)
    if result.returncode != 0:
        raise LabError(f"{host.name}: no frames could be sent: {last_words(result)}")
    return frozenset(
        (hearer, sender) for hearer, sender in map(str.split, result.text.splitlines())
    )


def pairs(heard: Collection[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Cables: two that hear one another and nobody else, each pair once.

    Three that hear one another hang on something that passes on what it should not, such as a
    hub; which two of them are a pair is for a person to say.
    """
    others: dict[str, set[str]] = {}
    for hearer, sender in heard:
        if hearer != sender:
            others.setdefault(hearer, set()).add(sender)
    return tuple(
        (one, other)
        for one in sorted(others)
        for other in others[one]
        if one < other and others[one] == {other} and others.get(other) == {one}
    )


def _await_carriers(host: Host, interfaces: Collection[str]) -> None:
    """Until all have a link; those that have none in time are not cabled."""
    with suppress(DeadlineExpired):
        Deadline(CARRIER_S, "a link").poll(
            lambda: all(link(host, each).carrier for each in interfaces), interval=0.2
        )
