"""Where the measured traffic ends: a guest, or for `native` the host itself."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError, MissingCapability
from harness.guest.boot import Guest
from harness.hosts.base import Host, Process
from harness.hosts.program import PYTHON, last_words, require_python
from harness.inventory import LinkPlan
from harness.net.ethtool import parse_features
from harness.net.netdev import Link, interface_with, parse_links, resize
from harness.net.netns import inside
from harness.qemu.argv import EDGES_PORT
from harness.qemu.attachment import NicAttachment
from harness.tuning.placement import taskset
from harness.tuning.rings import lengthen
from harness.window.counters import (
    interrupt_counts,
    parse_ip_received,
    parse_net_dev,
    parse_retransmitted,
    parse_udp_dropped,
)
from harness.window.window import Probe, Reading, WindowResult
from harness.workloads.iperf3_version import Version, require

STAT, INTERRUPTS = "/proc/stat", "/proc/interrupts"
USER_HZ = 100  # ticks per second of /proc/stat on every x86 Linux (include/asm-generic/param.h)
_TICK_NS = 1_000_000_000 // USER_HZ

READ = r"""
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && [ "$name" = "$1" ] && exec 3<>"/dev/${port##*/}" && break
done
shift
: >&3 || exit 1
for edge in 0 1 2; do
    # An end of file: the window's program is not there yet.
    until read -r told <&3; do sleep 0.02; done
    texts="$texts$edge
$(grep -H '' $* 2>/dev/null)
"
    echo >&3
done
echo "$texts"
"""
"""In the guest: each time that a line comes through the port named $1, read the files $2..., which
may be patterns, and answer with a line. Nothing is told of them before the third, and the first
reading, before the window, is only there to have all that is needed in memory."""


@dataclass(frozen=True)
class Counted:
    """The interface whose counters are read, and those of the machine it is in.

    `device` is the directory in sysfs of its PCI function, `witness` a process of the interface's
    network namespace: a window's program may run in another one.
    """

    interface: str
    device: str
    witness: int = 1

    @property
    def net_dev(self) -> str:
        return f"/proc/{self.witness}/net/dev"

    @property
    def snmp(self) -> str:
        return f"/proc/{self.witness}/net/snmp"

    @property
    def proc(self) -> tuple[str, ...]:
        return (self.net_dev, self.snmp, STAT, INTERRUPTS)

    @property
    def files(self) -> tuple[str, ...]:
        """What is read at each edge; one component of a path may be "*"."""
        return (*self.proc, f"{self.device}/irq", f"{self.device}/msi_irqs/*")

    def between(self, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
        """By how much each counter grew; LabError if a file was not there at both edges."""
        opening, closing = self.absolute(before), self.absolute(after)
        return {key: closing[key] - opening[key] for key in closing if key in opening}

    def absolute(self, texts: Mapping[str, str]) -> dict[str, int]:
        """Keys: guest.{rx,tx}_{packets,bytes}, guest.rx_missed, guest.ip_received,
        guest.retransmitted, guest.udp_dropped, guest.cpu_busy_ns, guest.cpu_total_ns,
        irq.{device,timer,ipi,other}; LabError if a file is not there."""
        if lacking := [name for name in self.proc if name not in texts]:
            raise LabError(f"{', '.join(lacking)} could not be read at both edges of the window")
        net = parse_net_dev(texts[self.net_dev], self.interface)
        irqs = interrupt_counts(texts[INTERRUPTS], self._numbers(texts))
        return {
            **{f"guest.{key}": value for key, value in net.items()},
            **_cpu_counters(texts[STAT].splitlines()),
            "guest.ip_received": parse_ip_received(texts[self.snmp]),
            "guest.retransmitted": parse_retransmitted(texts[self.snmp]),
            "guest.udp_dropped": parse_udp_dropped(texts[self.snmp]),
            **{f"irq.{kind}": count for kind, count in irqs.items()},
        }

    def _numbers(self, texts: Mapping[str, str]) -> set[str]:
        """The device's interrupts: MSI-X or MSI, else INTx, whose line others may share
        (Documentation/ABI/testing/sysfs-bus-pci)."""
        vectors = f"{self.device}/msi_irqs/"
        numbers = {path.removeprefix(vectors) for path in texts if path.startswith(vectors)}
        line = texts.get(f"{self.device}/irq", "0").strip()
        return numbers or ({line} if line != "0" else set())

    def probe(self) -> Probe:
        """Reads the counters at a window's edges, on the machine itself."""

        def parse(result: WindowResult) -> Reading:
            return Reading(self.between(result.before, result.after))

        return Probe("endpoint", parse, read=self.files)


@dataclass(frozen=True)
class GuestReader:
    """Reads a guest's counters when a window's edges come, as its program tells through a port of
    the guest: no frame and no command is needed for it, and nothing of ours is at work between.

    It is told before all else at the opening and after all else at the closing.
    """

    guest: Guest
    counted: Counted

    @property
    def socket(self) -> str:
        """On the host, for WindowSpec.tell."""
        return self.guest.process.files.edges

    @contextmanager
    def ready(self) -> Iterator[Callable[[], dict[str, int]]]:
        """While the context lasts one window may tell it of its edges; after that the function
        gives what the counters grew by. It raises LabError if they were not read twice."""
        argv = ("sh", "-c", READ, "sh", EDGES_PORT, *self.counted.files)
        with self.guest.host.spawn(argv) as reader:
            yield lambda: self.counted.between(
                *_parse_read(reader.wait(ANSWER).checked().text, self.counted.proc)
            )


ANSWER = 20.0
"""Seconds for the end of the guest's reader, once it has answered twice."""

SAID = "/run/nicproof-server"
"""In a guest: the file, but for a number, with what a server of ours has said so far."""

SERVER = "a server for this workload where the traffic ends"
SERVER_LIMIT = 60.0
"""Seconds until it is ready, for a Python that an emulated guest loads for the first time."""


@dataclass(frozen=True)
class Endpoint:
    """The machine and interface under test, addressed and serving iperf3."""

    host: Host
    interface: str
    mtu: int
    attachment: NicAttachment
    driver: str  # what is really bound
    offloads: dict[str, bool]
    guest: Guest | None = None
    iperf3: Version = ()  # the server's
    witness: int = 1  # a process of the interface's network namespace
    ring: str = ""  # descriptors of its receive ring if it was lengthened, in words
    cpus: tuple[int, ...] = ()  # of the host, where its servers run if there is no guest
    stack: ExitStack = field(default_factory=ExitStack)  # of what ends with the endpoint
    servers: dict[tuple[str, ...], Process] = field(default_factory=dict)

    def serve(self, argv: tuple[str, ...]) -> None:
        """Have a server beside the interface, that has said that it is ready; it ends with the
        endpoint. One that still runs is left alone.

        Raises MissingCapability if there can be none: for want of Python, or as it says itself.
        """
        running = self.servers.get(argv)
        if not argv or (running is not None and running.poll() is None):
            return
        if argv[0] == PYTHON[0]:
            self._require_python()
        said = f"{SAID}-{len(self.servers)}"
        here = inside(self.attachment.netns, argv)
        if self.guest is not None:  # what a process there says is told at its end only
            here = ("sh", "-c", 'exec "$@" >"$0"', said, *here)
        server = self.stack.enter_context(self.host.spawn((*taskset(self.cpus), *here)))
        self.servers[argv] = server

        def ready() -> bool:
            if server.poll() is not None:
                raise MissingCapability(SERVER, last_words(server.wait(ANSWER)))
            return self._said(server, said).startswith(b"ready\n")

        Deadline(SERVER_LIMIT, f"a server on {self.host.name}").poll(ready)

    def _require_python(self) -> None:
        try:
            require_python(self.host)
        except ConfigError as error:
            remedy = "install it in the image" if self.guest else error.remedy
            raise MissingCapability(SERVER, error.message, remedy=remedy) from error

    def _said(self, server: Process, file: str) -> bytes:
        if self.guest is None:
            return server.output()
        try:
            return self.host.read(file)
        except FileNotFoundError:
            return b""

    def moderate(self, usecs: int) -> None:
        """Set the interface's interrupt moderation; it ends with the guest, or with native's VF.

        ConfigError if the driver has none.
        """
        argv = ("ethtool", "-C", self.interface, "rx-usecs", str(usecs))
        output = self.host.run(inside(self.attachment.netns, argv), check=False)
        if output.returncode:
            raise ConfigError(
                f"--rx-usecs {usecs}: {self.driver} on {self.attachment.path} refuses it: "
                f"{output.error.strip()}",
                remedy="choose paths whose driver has interrupt moderation, such as sriov",
            )

    def counted(self) -> Counted:
        """What is to be read of it at the edges of a window."""
        link = f"/sys/class/net/{self.interface}/device"
        argv = inside(self.attachment.netns, ("readlink", "-f", link))
        device = self.host.run(argv).text.strip()
        above, name = posixpath.split(device)
        function = above if name.startswith("virtio") else device
        return Counted(self.interface, function, self.witness)


@contextmanager
def endpoint(
    host: Host,
    attachment: NicAttachment,
    plan: LinkPlan,
    guest: Guest | None,
    cpus: Sequence[int] = (),
    *,
    long_ring: bool = False,
    mtu: int | None = None,
) -> Iterator[Endpoint]:
    """Address the interface, wait for its carrier, start iperf3's server; all ends with it. Without
    a guest the server is on these CPUs of the host. With `long_ring` it does not lose what is sent
    in a burst (harness.tuning.rings). ConfigError if its iperf3 is too old, or its driver refuses
    the MTU.

    A guest's configuration dies with the guest, native's with its namespace.
    """
    interface = attachment.interface or interface_with(host, attachment.mac)

    def output_of(*argv: str) -> str:
        return host.run(inside(attachment.netns, argv)).text

    ring = lengthen(host, interface, attachment.netns) if long_ring else ""
    if mtu is not None:
        resize(host, interface, mtu, attachment.netns)
    output_of("ip", "address", "add", f"{plan.guest_ip}/{plan.prefix}", "dev", interface)
    output_of("ip", "link", "set", "dev", interface, "up")
    show = ("ip", "-j", "link", "show", "dev", interface)
    deadline = Deadline(20.0, f"carrier on {interface} of {host.name} ({attachment.path})")
    shown = deadline.poll(lambda: _with_carrier(output_of(*show)))
    link = output_of("readlink", "-f", f"/sys/class/net/{interface}/device/driver").strip()
    features = parse_features(output_of("ethtool", "-k", interface))
    offloads = {name: feature.on for name, feature in features.items()}
    version = require(output_of("iperf3", "--version"), host.name)
    serve = ("iperf3", "--server", "--bind", plan.guest_ip)
    with ExitStack() as stack:
        witness = 1
        if guest is not None:
            output_of(*serve, "--daemon")
        else:
            stack.enter_context(host.spawn((*taskset(cpus), *inside(attachment.netns, serve))))
            witness = _process_in(host, attachment.netns)
        yield Endpoint(
            host=host,
            interface=interface,
            mtu=shown.mtu,
            attachment=attachment,
            driver=posixpath.basename(link),
            offloads=offloads,
            guest=guest,
            iperf3=version,
            witness=witness,
            ring=ring,
            cpus=() if guest else tuple(cpus),
            stack=stack,
        )


def _with_carrier(text: str) -> Link | None:
    found = parse_links(text)[0]
    return found if found.carrier else None


def _process_in(host: Host, netns: str) -> int:
    """A process of the namespace, as soon as there is one: the server that was started in it."""
    pids = ("ip", "netns", "pids", netns)
    deadline = Deadline(20.0, f"an iperf3 server in {netns} of {host.name}")
    return int(deadline.poll(lambda: host.run(pids).text.split())[0])


def _parse_read(text: str, proc: Sequence[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What was read at the first and at the second edge, by file, from the output of READ; `proc`
    as in Counted."""
    edges: dict[str, dict[str, list[str]]] = {"1": {}, "2": {}}
    files: dict[str, list[str]] = {}
    for line in text.splitlines():
        # Other paths, those of devices, have colons of their own, and their texts have none.
        name = next((name for name in proc if line.startswith(f"{name}:")), line.rpartition(":")[0])
        if name:
            files.setdefault(name, []).append(line.removeprefix(f"{name}:"))
        else:
            files = edges.get(line, {})
    before, after = (
        {name: "\n".join(lines) for name, lines in edge.items()} for edge in edges.values()
    )
    return before, after


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
