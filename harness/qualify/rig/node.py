"""Where traffic starts and ends: an interface with its addresses, on a host, in a namespace of it
or in a guest; and the kinds of traffic between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import LabError, SetUpFailed
from harness.hosts.base import CommandResult, Host
from harness.net.ethtool import Feature, parse_features, parse_statistics
from harness.net.netns import inside
from harness.net.ping import summary
from harness.qualify.rig.act import set_up
from harness.qualify.rig.frames import FramePort
from harness.workloads.iperf3_output import Document, End, Unusable, read_document

PREFIX, PREFIX6 = 24, 64

SERIES = 3
"""Series of echo requests, one of which has to be answered whole."""


READY_S = 60.0
"""Seconds until a function that was bound has an interface, and one that was set up a carrier. A VF
of the 82576 has them within 1 and 3, by its host's clock. What decides against a NIC waits for so
long that a busy machine with an emulated one is not the reason."""


@dataclass(frozen=True)
class Node:
    """One end. `netns` is "" for the machine's own namespace, as in a guest."""

    host: Host
    netns: str
    interface: str
    mac: str
    ip: str
    ip6: str

    @property
    def place(self) -> FramePort:
        return FramePort(self.netns, self.interface)

    def argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        """`argv` as run on the machine to be inside the node's namespace."""
        return inside(self.netns, argv)

    def run(
        self, argv: Sequence[str], *, timeout: float = 30.0, check: bool = True
    ) -> CommandResult:
        return self.host.run(self.argv(argv), timeout=timeout, check=check)

    def address(self) -> None:
        """Give the interface its addresses and set it up. Its own namespace, or guest, forgets
        them; who calls this elsewhere undoes it."""
        script = (
            'ip address add "$2" dev "$1" && ip -6 address add "$3" dev "$1" nodad && '
            'ip link set "$1" up'
        )
        addresses = (f"{self.ip}/{PREFIX}", f"{self.ip6}/{PREFIX6}")
        self.run(("sh", "-c", script, "sh", self.interface, *addresses))

    def await_carrier(self, seconds: float = READY_S) -> None:
        """LabError if the interface has no carrier in time."""
        argv = ("cat", f"/sys/class/net/{self.interface}/carrier")
        Deadline(seconds, f"a carrier on {self.interface} of {self.host.name}").poll(
            lambda: self.run(argv, check=False).text.strip() == "1"
        )

    def counter(self, name: str) -> int:
        """A counter of the interface, such as rx_bytes, as the kernel keeps it."""
        return int(self.run(("cat", f"/sys/class/net/{self.interface}/statistics/{name}")).text)

    def statistics(self) -> dict[str, int]:
        """The driver's own counters, by the names that `ethtool -S` gives them."""
        return parse_statistics(self.run(("ethtool", "-S", self.interface)).text)

    def features(self) -> dict[str, Feature]:
        """What `ethtool -k` shows of the interface."""
        return parse_features(self.run(("ethtool", "-k", self.interface)).text)


def ping(source: Node, address: str, *, count: int = 10, size: int = 56, df: bool = False) -> int:
    """How many of `count` echo requests with `size` bytes of payload were answered.

    `df` forbids fragments on the way. In a guest it is busybox's ping, which knows no `df`.
    """
    six = ("-6",) if ":" in address else ()
    fast = ("-i", "0.02") if source.netns else ()
    whole = ("-M", "do") if df else ()
    argv = ("ping", *six, "-q", "-c", str(count), "-W", "1", "-s", str(size), *fast, *whole)
    result = source.run((*argv, address), timeout=30 + 2 * count, check=False)
    found = summary(result.ended().text)
    if found is None and result.returncode > 1:
        raise LabError(f"{source.host.name}: ping {address}: {result.error.strip()}")
    return found.received if found else 0


def reaches(source: Node, address: str, *, count: int = 3) -> bool:
    """Whether echo requests are answered, all `count` of one series in SERIES.

    ping leaves the last answer two round-trip times, which a busy host can take longer than. How
    much a port loses is for the cases that count it.
    """
    return any(ping(source, address, count=count) == count for _ in range(SERIES))


def require_answers(source: Node, address: str, *, count: int = 3) -> None:
    """Before an act: SetUpFailed unless `address` can be reached."""
    if not reaches(source, address, count=count):
        raise SetUpFailed(f"{address} does not answer {source.place} of {source.host.name}")


@contextmanager
def iperf3_server(node: Node, address: str, *options: str, port: int = 5201) -> Iterator[None]:
    """A server at `address` of the node, for as many tests as come."""
    argv = node.argv(("iperf3", "--server", "--bind", address, "--port", str(port), *options))
    with node.host.spawn(argv) as server:
        # State 0A is LISTEN: connections of the server before linger at this port, too.
        listens = f":{port:04X} [0-9A-F]*:0000 0A "
        listening = ("grep", "-qi", listens, "/proc/net/tcp", "/proc/net/tcp6")

        def ready() -> bool:
            if server.poll() is not None:
                raise LabError(f"{node.host.name}: iperf3 does not serve {address}:{port}")
            return node.run(listening, check=False).returncode == 0

        with set_up(f"an iperf3 server on {node.host.name}"):
            Deadline(60.0, f"an iperf3 server at {address}").poll(ready)
        yield


def iperf3(source: Node, address: str, *options: str, timeout: float = 120.0) -> End:
    """The `end` of an iperf3 client's JSON: transfers between `source` and a server.

    Raises LabError if it does not come to its end, or its output is no complete result.
    """
    argv = iperf3_client(address, *options)
    return iperf3_document(source.run(argv, timeout=timeout, check=False)).end


def iperf3_client(address: str, *options: str) -> tuple[str, ...]:
    """argv of a client whose output `iperf3_document` reads."""
    return ("iperf3", "--json", "--client", address, *options)


def iperf3_document(result: CommandResult) -> Document:
    """What an iperf3 client printed; LabError if that is no complete result."""
    try:
        return read_document(result.ended().text)
    except Unusable as error:
        output = str(error) if result.text.strip() else result.error.strip()
        raise LabError(f"{result.host}: {' '.join(result.argv)}: {output}") from error
