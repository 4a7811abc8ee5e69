"""A first inventory of a host, written from what is found on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from harness.hosts.base import Host
from harness.inventory.fields import cpu_list
from harness.inventory.spec import HostSpec
from harness.pci.device import Device
from harness.pci.in_use import Verdict, inspect
from harness.pci.profiles import Profile, models, profile_for
from harness.pci.survey import Silent, Survey, ethernet_functions, survey, surveys

CPUS = "/sys/devices/system/cpu/online"


@dataclass(frozen=True)
class Port:
    """A port, as it was found. `cpus` are those next to it; `every`: are they all that the host
    has?"""

    found: Survey
    verdict: Verdict
    cpus: str
    every: bool = False

    @property
    def bdf(self) -> str:
        return self.found.address

    @property
    def profile(self) -> Profile:
        return profile_for(*self.found.ids)

    @property
    def model(self) -> str:
        return self.profile.name(*self.found.ids)

    @property
    def interface(self) -> str:
        return self.found.running.interface if self.found.running else ""

    @property
    def numa(self) -> int | None:
        """The NUMA node, None on a machine that has none (-1 in sysfs)."""
        node = self.found.running.numa_node if self.found.running else None
        return None if node == -1 else node

    @property
    def free(self) -> bool:
        return not self.verdict.refusals


def ports(host: Host) -> tuple[Port | Silent, ...]:
    """The known PFs of a host, those that do not answer too; LabError if it does not tell what has
    to be known of them."""
    return tuple(
        each if isinstance(each, Silent) else _port_of(host, each)
        for each in surveys(host, known_ports(host))
    )


def known_ports(host: Host) -> list[str]:
    """BDFs of the known PFs of a host."""
    return [bdf for bdf in ethernet_functions(host) if _known(host, bdf)]


def port_at(host: Host, bdf: str) -> Port:
    """One function; ConfigError if there is none or it does not answer."""
    return _port_of(host, survey(host, bdf))


def _port_of(host: Host, found: Survey) -> Port:
    node = found.running.numa_node if found.running else None
    cpus, online = _cpus(host, node), _cpus(host, None)
    every = set(cpu_list(online)) <= set(cpu_list(cpus))
    return Port(found, inspect(host, found.address), cpus, every)


def _known(host: Host, bdf: str) -> bool:
    """Whether it is a PF of a model that has a profile. A device that is there but does not answer
    has its IDs all the same: sysfs keeps them."""
    device = Device(host, bdf)
    return not device.profile.generic and not device.pf


def _cpus(host: Host, node: int | None) -> str:
    """The CPUs of a NUMA node, or all of a machine without nodes."""
    path = f"/sys/devices/system/node/node{node}/cpulist" if node not in (None, -1) else CPUS
    return host.read(path).decode().strip()


def render(
    spec: HostSpec, every: Sequence[Port | Silent], cables: Sequence[tuple[str, str]]
) -> str:
    """The text of a lab.toml. What a person has to know or to decide stands in comments."""
    partner = dict(cables) | {other: one for one, other in cables}
    found = [each for each in every if isinstance(each, Port)]
    free = [port for port in found if port.free]
    lines = ["# Written by nicproof inventory discover: read it before you use it.", ""]
    lines += [f"[host.{_key(spec.name)}]", *_host(spec), *_near(free)]
    lines += [
        "hugepages = 0      # 2 MiB pages that guests may take",
        'may = []           # what may be changed here: "bind", "sriov", "tune", "modules"',
    ]
    for port in found:
        lines += ["", *_port(spec, port, partner.get(port.bdf, ""))]
    for each in every:
        if isinstance(each, Silent):
            lines += ["", _comment(f"left out: {each.why}")]
    if not every:
        lines += ["", f"# No {models()} was found."]
    return "\n".join(lines) + "\n"


def _host(spec: HostSpec) -> Iterator[str]:
    """How it was reached this time."""
    yield f"address = {_text(spec.address)}"
    for key in ("jump", "user", "become"):
        if value := getattr(spec, key):
            yield f"{key} = {_text(value)}"
    if spec.ssh_port is not None:
        yield f"ssh_port = {spec.ssh_port}"
    for key in ("identity", "ssh_config", "known_hosts"):
        if path := getattr(spec, key):
            yield f"{key} = {_text(str(path.absolute()))}"


def _near(free: Sequence[Port]) -> Iterator[str]:
    """CPUs and NUMA node of the first free port."""
    if free:
        if free[0].every:  # which is no choice: some have to be left to the host
            yield "# These are all: name some for guests, and leave the first ones to the host."
        yield f"{'# ' * free[0].every}cpus = {_text(free[0].cpus)}"
        if free[0].numa is not None:
            yield f"numa = {free[0].numa}"
        if len({port.numa for port in free}) > 1:
            yield "# The free ports are on several NUMA nodes: that of the first one is given."


def _port(spec: HostSpec, port: Port, partner: str) -> Iterator[str]:
    """A table; a port that is in use is left out of the inventory, as a comment."""
    running = port.found.running
    abilities = running.abilities if running else None
    facts = [
        f"interface {port.interface or 'none'}",
        f"driver {(running and running.driver) or 'none'}",
        f"firmware {(abilities and abilities.firmware) or 'unknown'}",
        f"NUMA node {'none' if port.numa is None else port.numa}",
        f"{(running and running.total_vfs) or 0} VFs",
    ]
    yield _comment(f"{port.bdf}: {', '.join(facts)}")
    for refusal in port.verdict.refusals:
        yield _comment(f"left out, since {refusal}")
    for warning in port.verdict.warnings:
        yield _comment(f"note: {warning}")
    table = [
        f"[[host.{_key(spec.name)}.port]]",
        f"bdf = {_text(port.bdf)}",
        f"model = {_text(port.model)}",
        f"partner = {_text(partner)}" if partner else '# partner = "BDF" or "HOST/BDF": not known',
    ]
    yield from table if port.free else ("# " + line.removeprefix("# ") for line in table)


def _text(value: str) -> str:
    """A basic string of TOML; JSON's escapes are among TOML's."""
    return msgspec.json.encode(value).decode()


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _text(name)


def _comment(text: str) -> str:
    """One line, whatever a device says of itself."""
    return "# " + "".join(each if each.isprintable() else " " for each in text)
