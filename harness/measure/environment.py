"""What a run ran on, collected once: enough to know whether two runs may be compared."""

from __future__ import annotations

import os
import platform
import re
import sys

from harness import __version__
from harness.core.errors import HarnessError
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.inventory.view import ranges
from harness.net.ethtool import parse_features, parse_info
from harness.net.netns import inside
from harness.paths.partner import Partner
from harness.pci.device import Device
from harness.qemu.config import GuestConfig

Section = dict[str, str]

HALT_POLL = "/sys/module/kvm/parameters/halt_poll_ns"
"""How long KVM waits on the CPU for a halted vCPU's next interrupt before it sleeps, at most
(Documentation/virt/kvm/halt-polling.rst). QEMU sets no limit of its own for a VM."""

_OFFLOADS = (
    "rx-checksumming",
    "tx-checksumming",
    "scatter-gather",
    "tcp-segmentation-offload",
    "generic-segmentation-offload",
    "generic-receive-offload",
    "large-receive-offload",
)


def describe_controller() -> Section:
    """The machine that runs the harness; its load is what disturbs a nested lab."""
    return {
        "nicproof": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "CPUs": str(os.cpu_count()),
        "load average (1 min) at start": f"{os.getloadavg()[0]:.2f}",
        "command": _masked(" ".join(sys.argv)),
    }


def _masked(command: str) -> str:
    """Without the passwords of URLs, since a report is there to be shown."""
    command = re.sub(r"(://[^\s:@/]*):\S*@", r"\1:***@", command)
    return re.sub(r"(password=)[^\s&]*", r"\1***", command)


def describe_host(host: Host) -> Section:
    """The host that carries the guests."""
    version = _command(host, ("qemu-system-x86_64", "--version")).partition("\n")[0]
    polling = _text(host, HALT_POLL)
    if polling.isdecimal():
        polling += " ns" if int(polling) else " ns: none"
    return {**describe_machine(host), "QEMU": version, "KVM's halt polling, at most": polling}


def describe_machine(host: Host) -> Section:
    """CPU, kernel, mitigations and clock source of a host, and its iperf3."""
    cpu = _text(host, "/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", cpu, re.MULTILINE)
    return {
        "CPU": model[1] if model else "unknown",
        "CPUs": str(len(re.findall(r"^processor\s*:", cpu, re.MULTILINE))),
        "kernel": _command(host, ("uname", "-r")),
        "kernel command line": _text(host, "/proc/cmdline"),
        "clock source": _text(
            host, "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "governor": _text(host, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": _mitigations(host),
        "iperf3": _command(host, ("iperf3", "--version")).partition("\n")[0],
    }


def describe_guest(guest: GuestConfig) -> Section:
    """Where on its host a guest runs, and what it is given."""
    cpus = ranges(guest.cpus) or "any"
    own = f", each on one of its own: {ranges(guest.vcpu_cpus)}" if guest.vcpu_cpus else ""
    return {
        "virtual CPUs": f"{guest.vcpus}{own}",
        "CPUs of QEMU and vhost" if own else "CPUs of all its threads": cpus,
        "memory": f"{guest.memory_mib} MiB of {guest.hugepages or 'ordinary pages'}",
    }


def describe_nic(host: Host, ports: PortPair, partner: Partner) -> dict[str, Section]:
    """Both ports: model, driver, firmware, offloads; and the partner's host, if it is another
    one."""
    dut = Device(host, ports.dut)
    interface = dut.interface
    sections = {"port under test": _port(host, ports.dut, dut.driver, "", interface)}
    driver = Device(partner.host, ports.partner).driver
    other = _port(partner.host, ports.partner, driver, partner.netns, partner.interface)
    sections["link partner"] = other
    if partner.host is not host:
        sections["link partner"] = {"host": partner.host.name, **other}
        sections["link partner's host"] = describe_machine(partner.host)
    return sections


def _port(host: Host, bdf: str, driver: str, netns: str, interface: str) -> Section:
    section = {"BDF": bdf, "model": Device(host, bdf).model, "driver": driver}
    info = parse_info(_command(host, inside(netns, ("ethtool", "-i", interface))))
    for key in ("version", "firmware-version"):
        if key in info:
            section[key] = info[key] or "none"
    features = parse_features(_command(host, inside(netns, ("ethtool", "-k", interface))))
    on = [name for name in _OFFLOADS if name in features and features[name].on]
    section["offloads that are on"] = ", ".join(on) or "unknown"
    return section


def _mitigations(host: Host) -> str:
    """The kernel's own words on each vulnerability that it mitigates or leaves open."""
    directory = "/sys/devices/system/cpu/vulnerabilities/"
    names = host.glob(f"{directory}*")
    if not names:
        return "unknown"
    lines = _command(host, ("grep", "-H", "", *names)).splitlines()
    pairs = (line.removeprefix(directory).split(":", 1) for line in lines)
    states = [f"{name}: {state}" for name, state in pairs if state.strip() != "Not affected"]
    return "; ".join(states) or "none needed"


def _text(host: Host, path: str) -> str:
    try:
        return host.read(path).decode(errors="replace").strip()
    except (FileNotFoundError, HarnessError):
        return "unknown"


def _command(host: Host, argv: tuple[str, ...]) -> str:
    result = host.run(argv, check=False)
    return result.text.strip() if result.returncode == 0 else "unknown"
