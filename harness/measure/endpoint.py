"""Where the measured traffic ends: a guest, or for `native` the host itself."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from harness.deadline import Deadline
from harness.errors import ConfigError, LabError
from harness.guest.boot import Guest
from harness.host.base import Host
from harness.inventory import LinkPlan
from harness.measure.counters import (
    parse_interrupts,
    parse_net_dev,
    parse_retransmitted,
    parse_udp_dropped,
)
from harness.netdev import interface_with, parse_links, parse_offloads
from harness.paths.base import NicAttachment
from harness.workloads.iperf3_version import Version, require

FILES = ("/proc/net/dev", "/proc/net/snmp", "/proc/stat", "/proc/interrupts")
USER_HZ = 100  # ticks per second of /proc/stat on every x86 Linux (include/asm-generic/param.h)
_TICK_NS = 1_000_000_000 // USER_HZ


@dataclass(frozen=True)
class Endpoint:
    """The machine and interface under test, addressed and serving iperf3."""

    host: Host
    interface: str
    attachment: NicAttachment
    driver: str  # what is really bound
    offloads: dict[str, bool]
    guest: Guest | None = None
    iperf3: Version = ()  # the server's

    def moderate(self, usecs: int) -> None:
        """Set the interface's interrupt moderation; it ends with the guest, or with native's VF.

        ConfigError if the driver has none.
        """
        argv = ("ethtool", "-C", self.interface, "rx-usecs", str(usecs))
        said = self.host.run(argv, check=False)
        if said.returncode:
            raise ConfigError(
                f"--rx-usecs {usecs}: {self.driver} on {self.attachment.path} refuses it: "
                f"{said.error.strip()}",
                remedy="choose paths whose driver has interrupt moderation, such as sriov",
            )

    def snapshot(self) -> dict[str, int]:
        """Counters of the endpoint, absolute; see `parse_snapshot`. One command."""
        text = self.host.run(("grep", "", *FILES)).text
        return parse_snapshot(text, self.interface)


@contextmanager
def endpoint(
    host: Host, attachment: NicAttachment, plan: LinkPlan, guest: Guest | None
) -> Iterator[Endpoint]:
    """Address the interface, wait for its carrier, start iperf3's server; all ends with it.
    ConfigError if the machine's iperf3 is too old.

    A guest's configuration dies with the guest, native's with its VF.
    """
    interface = attachment.interface or interface_with(host, attachment.mac)
    host.run(("ip", "address", "add", f"{plan.guest_ip}/{plan.prefix}", "dev", interface))
    host.run(("ip", "link", "set", "dev", interface, "up"))
    show = ("ip", "-j", "link", "show", "dev", interface)
    deadline = Deadline(20.0, f"carrier on {interface} of {host.name} ({attachment.path})")
    deadline.poll(lambda: parse_links(host.run(show).text)[0].carrier)
    link = host.run(("readlink", "-f", f"/sys/class/net/{interface}/device/driver")).text.strip()
    offloads = parse_offloads(host.run(("ethtool", "-k", interface)).text)
    version = require(host.run(("iperf3", "--version")).text, host.name)
    serve = ("iperf3", "--server", "--bind", plan.guest_ip)
    with ExitStack() as stack:
        if guest is not None:
            host.run((*serve, "--daemon"))
        else:
            stack.enter_context(host.spawn(serve))
        driver = posixpath.basename(link)
        yield Endpoint(host, interface, attachment, driver, offloads, guest, version)


def parse_snapshot(text: str, interface: str) -> dict[str, int]:
    """Absolute counters from `grep "" FILES`, which puts "FILE:" before every line.

    Keys: guest.{rx,tx}_{packets,bytes}, guest.retransmitted, guest.udp_dropped,
    guest.cpu_busy_ns, guest.cpu_total_ns, irq.guest.
    """
    files: dict[str, list[str]] = {name: [] for name in FILES}
    for line in text.splitlines():
        for name in FILES:
            if line.startswith(f"{name}:"):
                files[name].append(line.removeprefix(f"{name}:"))
    texts = {name: "\n".join(lines) for name, lines in files.items()}
    net = parse_net_dev(texts["/proc/net/dev"], interface)
    return {
        **{f"guest.{key}": value for key, value in net.items()},
        **_cpu_counters(files["/proc/stat"]),
        "guest.retransmitted": parse_retransmitted(texts["/proc/net/snmp"]),
        "guest.udp_dropped": parse_udp_dropped(texts["/proc/net/snmp"]),
        "irq.guest": parse_interrupts(texts["/proc/interrupts"]),
    }


def _cpu_counters(lines: list[str]) -> dict[str, int]:
    """Columns of the "cpu" line: user nice system idle iowait irq softirq steal (man proc_stat)."""
    for line in lines:
        if line.startswith("cpu "):
            ticks = [int(word) for word in line.split()[1:9]]
            # Stolen time is the host's doing: the guest was ready and did not run.
            waiting = ticks[3] + ticks[4] + ticks[7]
            return {
                "guest.cpu_busy_ns": (sum(ticks) - waiting) * _TICK_NS,
                "guest.cpu_total_ns": sum(ticks) * _TICK_NS,
            }
    raise LabError("/proc/stat has no line for all CPUs")
