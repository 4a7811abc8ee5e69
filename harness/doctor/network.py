"""Who else has a hand in the interfaces of the ports: a firewall, managers of networks.

Most of a run's traffic ends in a guest or in a namespace of the harness's own, where neither
reaches. A port under test stays in the host's own, though.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.core.errors import LabError, NotStarted, RunOver
from harness.doctor.findings import Finding
from harness.hosts.base import Host
from harness.inventory.spec import HostSpec
from harness.labs.real.discover import known_ports
from harness.net import firewall, managers
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


def _managers(host: Host, interfaces: tuple[str, ...]) -> Iterator[Finding]:
    for manager, managed in managers.managing(host, interfaces):
        detail = (
            f"manages {', '.join(managed)}: it asks for addresses there, and sends frames of its "
            "own in the middle of a trial; cases that send to the port's own address are skipped"
        )
        yield Finding(manager.name, "note", detail, manager.keep_off(managed))
