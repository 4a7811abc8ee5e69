"""The link partner: the second, cabled port, in a network namespace of its own.

In a namespace its host's own routing cannot short-circuit the traffic: the only way from the host
under test, be it the same one, or from a guest to the partner's address is the cable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.hosts.base import CommandResult, Host
from harness.inventory import LinkPlan
from harness.journal.journal import Journal, UndoCommand
from harness.net.ethtool import rings, set_rings
from harness.net.netdev import link, parse_neighbours, resized
from harness.net.netns import inside
from harness.pci.device import Device

IP_AND_ICMP = 28
"""Bytes of an echo request that are no payload: IPv4 20, ICMP 8."""


@dataclass(frozen=True)
class Partner:
    """The cabled port that sends and receives at the other end; `journal` is its host's."""

    host: Host
    journal: Journal
    netns: str
    interface: str
    ip: str
    mac: str
    mtu: int = 1500

    def run(
        self, argv: Sequence[str], *, timeout: float = 30.0, check: bool = True
    ) -> CommandResult:
        """Run a command in the partner's namespace."""
        return self.host.run(inside(self.netns, argv), timeout=timeout, check=check)

    def neighbour(self, ip: str) -> str:
        """The MAC address from which `ip` answers, "" if the partner knows none."""
        argv = ("ip", "-n", self.netns, "-j", "neigh", "show", "to", ip, "dev", self.interface)
        found = parse_neighbours(self.host.run(argv).text)
        return found[0].lladdr if found else ""

    def forget(self, ip: str) -> None:
        """Drop what is known of `ip`, so that the next answer is a new guest's own."""
        argv = ("ip", "-n", self.netns, "neigh", "del", ip, "dev", self.interface)
        self.host.run(argv, check=False)

    @contextmanager
    def resized(self, mtu: int) -> Iterator[None]:
        """The port with this MTU; ConfigError if its driver refuses."""
        with resized(self.host, self.interface, mtu, self.journal, self.netns):
            yield

    def carries(self, ip: str, mtu: int) -> None:
        """ConfigError unless a frame as long as the MTU gets to `ip` and back, unfragmented; to be
        called when it is reached."""
        payload = mtu - IP_AND_ICMP
        argv = ("ping", "-c", "3", "-W", "2", "-M", "do", "-s", str(payload), "-I", self.interface)
        ping = self.run((*argv, ip), check=False)
        if ping.returncode:
            raise ConfigError(
                f"--mtu {mtu}: both ends take it, but no frame of that length gets from "
                f"{self.interface} of {self.host.name} to {ip} and back",
                remedy="set the MTU of the switch between the two ports, or give a smaller one",
            )

    def require_rate(self, bits: int) -> None:
        """ConfigError if so many bit/s are beyond the rate of the port's link, if that is known."""
        answer = self.run(("cat", f"/sys/class/net/{self.interface}/speed"), check=False)
        mbits = int(answer.text) if answer.text.strip().isdigit() else 0
        if 0 < mbits * 10**6 < bits:
            raise ConfigError(
                f"--udp-rate {bits / 1e6:g}: the link of {self.interface} of {self.host.name} has "
                f"{mbits} Mbit/s",
                remedy=f"give {mbits} at the most, or unlimited",
            )

    def reaches(self, ip: str, *, seconds: float = 10.0) -> None:
        """Wait until `ip` answers a ping through the cable; LabError if it never does."""
        deadline = Deadline(seconds, f"an answer from {ip} to the partner")
        while True:
            ping = self.run(("ping", "-c", "1", "-W", "1", "-I", self.interface, ip), check=False)
            if ping.returncode == 0:
                return
            if deadline.expired:
                raise LabError(
                    f"{ip} does not answer the partner {self.ip} within {seconds:g} s: "
                    f"{ping.text.strip() or ping.error.strip()}",
                    remedy="see the guest's serial log and `dmesg` on the host",
                )


BACK = """
netns=$1 port=$2
shift 2
if ip -n "$netns" link show dev "$port" >/dev/null 2>&1; then
    ip -n "$netns" link set "$port" down || exit
    [ $# = 0 ] || ip netns exec "$netns" "$@" || exit
    ip -n "$netns" link set "$port" netns 1 || exit
fi
ip netns del "$netns"
"""
"""Bring port $2 back from namespace $1, its rings set by the rest of the arguments, and remove the
namespace. The port may not have been moved yet, nor the namespace have been completed."""


@contextmanager
def partner(host: Host, bdf: str, plan: LinkPlan, journal: Journal) -> Iterator[Partner]:
    """The port `bdf` of the partner's host in its namespace, addressed and up; afterwards back
    where it was. The journal is that host's.

    It gets the longest rings it can have: with igb's default of 256 descriptors it is the
    partner that loses frames, and TCP's recovery is measured instead of the path.
    """
    interface = Device(host, bdf).interface
    if not interface:
        raise LabError(
            f"{host.name}: the partner's port {bdf} has no network interface here",
            remedy="it may be bound to vfio-pci or be in another namespace; see lspci -k",
        )
    prior = link(host, interface)
    netns = plan.partner_netns
    short = rings(host, interface)
    shorten = set_rings(interface, short.rx, short.tx) if short else ()
    back = ("sh", "-c", BACK, "sh", netns, interface, *shorten)
    undo = [UndoCommand(back, when=f"/run/netns/{netns}")]
    if "UP" in prior.flags:
        undo.append(UndoCommand(("ip", "link", "set", interface, "up")))
    with journal.change(f"moved {interface} ({bdf}) to namespace {netns}", undo):
        host.run(("ip", "netns", "add", netns))
        host.run(("ip", "link", "set", interface, "netns", netns))
        if short:
            host.run(inside(netns, set_rings(interface, short.rx_max, short.tx_max)))
        host.run(("ip", "-n", netns, "link", "set", "lo", "up"))
        address = f"{plan.partner_ip}/{plan.prefix}"
        host.run(("ip", "-n", netns, "address", "add", address, "dev", interface))
        host.run(("ip", "-n", netns, "link", "set", interface, "up"))
        yield Partner(host, journal, netns, interface, plan.partner_ip, prior.address, prior.mtu)
