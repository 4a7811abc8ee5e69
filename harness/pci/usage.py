"""What a host's network is used for at the moment, asked by one command and parsed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import msgspec

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.hosts.program import last_words
from harness.pci.device import ROOT

LOOK = r"""
set -e
[ "$(id -u)" = 0 ] || { echo "only root is told all that has to be known of a port" >&2; exit 1; }
for tool in ip ss lsns nsenter getent; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
find / -maxdepth 0 -printf ""  # a find that cannot print fails here, not below
section() { printf '\n== %s\n' "$1"; }
names() { ls -d "$@" 2>/dev/null | sed 's|.*/||' | tr '\n' ' '; }

section interfaces
ip -j -d address show
section routes4
ip -4 -j route show table all
section routes6
ip -6 -j route show table all
section connection
echo "$SSH_CONNECTION"
section sessions
ss -Htnp
section mounts
cat /proc/self/mounts
section storage
grep -sH . /sys/class/iscsi_connection/*/address /sys/class/nvme/*/address || :
ls -d /sys/block/nbd*/pid 2>/dev/null || :

section functions
for device in "$1" "$1"/virtfn*; do
    [ -e "$device/vendor" ] || continue
    printf '%s|%s|%s|%s|%s\n' "$(basename "$(readlink -f "$device")")" \
        "$(basename "$(readlink "$device/driver")")" \
        "$(names "$device"/net/* "$device"/virtio*/net/*)" \
        "$(basename "$(readlink "$device/iommu_group")")" "$(ls "$device/vfio-dev" 2>/dev/null)"
done

section opened
find /proc/[0-9]*/fd -lname '/dev/vfio/*' -printf '%p %l\n' 2>/dev/null | sort -u |
    while IFS=/ read -r _ _ pid _ _ node; do
        read -r name <"/proc/$pid/comm" && echo "/$node $name (pid $pid)"
    done || :

seen=$(stat -Lc %i /proc/self/ns/net)
for path in /run/netns/* $(lsns -t net -nro PID | sed 's|.*|/proc/&/ns/net|'); do
    inode=$(stat -Lc %i "$path" 2>/dev/null) || continue
    case " $seen " in *" $inode "*) continue ;; esac
    seen="$seen $inode"
    section "elsewhere $path"
    nsenter --net="$path" ip -j -d address show 2>/dev/null || :
done
"""
"""What is asked of a host about a port ($1, in sysfs). Whatever fails ends it, but for things that
may come and go meanwhile: a port of which not everything is known is not free."""

SECTIONS = (
    *("interfaces", "routes4", "routes6", "connection", "sessions", "mounts", "storage"),
    *("functions", "opened"),
)

NETWORK_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.glusterfs", "fuse.sshfs")
NBD_PORT = 10809
"""IANA's port of the network block device; who serves one is not told by sysfs."""


class Address(msgspec.Struct, frozen=True):
    """One of `addr_info`."""

    local: str = ""  # absent from a peer's
    prefixlen: int = 0
    scope: str = ""
    dynamic: bool = False  # given by DHCP or a router, for a time


class Kind(msgspec.Struct, frozen=True):
    info_kind: str = ""
    info_slave_kind: str = ""


class Interface(msgspec.Struct, frozen=True):
    """One interface as `ip -j -d address show` prints it; what we do not use is passed over."""

    ifindex: int
    ifname: str
    link: str = ""  # the one below it, in the same namespace
    link_index: int = 0  # the one below it, in another namespace
    link_netnsid: int | None = None
    master: str = ""
    linkinfo: Kind = Kind()
    addr_info: tuple[Address, ...] = ()


class Hop(msgspec.Struct, frozen=True):
    dev: str = ""
    gateway: str = ""


class Route(msgspec.Struct, frozen=True):
    """One route as `ip -j route show` prints it."""

    dst: str
    dev: str = ""
    gateway: str = ""
    table: str = "main"
    nexthops: tuple[Hop, ...] = ()

    @property
    def hops(self) -> tuple[Hop, ...]:
        return self.nexthops or (Hop(self.dev, self.gateway),)


@dataclass(frozen=True)
class Peer:
    """Somebody at the other end, whom the host must be able to reach. `local` may be ""."""

    what: str
    address: str
    local: str = ""


@dataclass(frozen=True)
class Function:
    """The port, or one of its VFs. What it has not is ""."""

    bdf: str
    driver: str
    interfaces: tuple[str, ...]  # in the host's own network namespace
    nodes: tuple[str, ...]  # device files through which a program would hold it


@dataclass(frozen=True)
class Usage:
    """All of it. `ways` says of each peer's address which interface leads there."""

    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    peers: tuple[Peer, ...]
    functions: tuple[Function, ...]  # the port itself comes first
    opened: Mapping[str, str]  # device file -> the program that has it open
    elsewhere: Mapping[str, tuple[Interface, ...]]  # other network namespaces
    ways: Mapping[str, str] = field(default_factory=dict)


def usage(host: Host, bdf: str) -> Usage:
    """Ask the host; LabError if not everything could be asked."""
    result = host.run(("sh", "-c", LOOK, "sh", f"{ROOT}/{bdf}"), check=False)
    if result.returncode != 0:
        raise LabError(
            f"{host.name}: what {bdf} is used for cannot be told: {last_words(result)}",
            remedy="be root there, and install iproute2 and util-linux",
        )
    found = parse(result.text)
    addresses = sorted({peer.address for peer in found.peers})
    return replace(found, ways={each: way(host, each) for each in addresses})


def way(host: Host, address: str) -> str:
    """The interface that leads to an address, or to a name's first one, "" if none does."""
    if not re.fullmatch(r"[0-9a-f:.]+", address):
        known = host.run(("getent", "ahosts", address), check=False).text.split()
        address = known[0] if known else address
    output = host.run(("ip", "-j", "route", "get", address), check=False)
    routes = _decode(output.text, tuple[Route, ...]) if output.returncode == 0 else ()
    return routes[0].dev if routes else ""


def parse(text: str) -> Usage:
    """From what LOOK prints; LabError if a part of it is not what it should be."""
    parts = dict(_sections(text))
    if missing := [name for name in SECTIONS if name not in parts]:
        raise LabError(f"the host did not tell its {', '.join(missing)}")
    return Usage(
        interfaces=_decode(parts["interfaces"], tuple[Interface, ...]),
        routes=(
            *_decode(parts["routes4"], tuple[Route, ...]),
            *_decode(parts["routes6"], tuple[Route, ...]),
        ),
        peers=(
            *ssh_sessions(parts["sessions"], parts["connection"]),
            *mounts(parts["mounts"]),
            *storage(parts["storage"], parts["sessions"]),
        ),
        functions=tuple(_functions(parts["functions"])),
        opened=dict(_opened(parts["opened"])),
        elsewhere={
            name.removeprefix("elsewhere "): _decode(body, tuple[Interface, ...])
            for name, body in parts.items()
            if name.startswith("elsewhere ")
        },
    )


def _sections(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split("\n== ")[1:]:
        name, _, body = part.partition("\n")
        yield name, body


T = TypeVar("T")


def _decode(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text.strip() or "[]", type=kind)
    except msgspec.DecodeError as error:
        raise LabError(f"ip printed what is not the JSON expected: {error}") from error


def ssh_sessions(text: str, connection: str) -> Iterator[Peer]:
    """Sessions with this host's sshd in the output of `ss -Htnp`, and our own connection.

    sshd is known by its name, which only root is told, by its port, or by `connection`, what
    $SSH_CONNECTION holds (ssh(1)): one may listen anywhere.
    """
    ours = connection.split()
    if len(ours) == 4:
        yield Peer("this ssh session", plain(ours[0]), plain(ours[2]))
    for local, port, peer, peer_port, program in _established(text):
        if ours and (peer, peer_port) == (plain(ours[0]), ours[1]):
            continue
        if port == "22" or re.search(r'\("(sshd|dropbear)', program):
            yield Peer("an ssh session", peer, local)


def mounts(text: str) -> Iterator[Peer]:
    """Servers of the filesystems in /proc/mounts (proc(5))."""
    for line in text.splitlines():
        source, place, kind, options = line.split(" ")[:4]
        if kind not in NETWORK_FILESYSTEMS:
            continue
        for server in dict.fromkeys(map(plain, _servers(source, options))):
            yield Peer(f"{place} ({kind}, mounted from {source})", server)


def _servers(source: str, options: str) -> list[str]:
    """Addresses in the options (nfs(5), mount.cifs(8), mount.ceph(8)) or in the source: those of
    ceph (10.0.0.1:6789,10.0.0.2:6789:/) and 9p, or the name before the colon."""
    servers = re.findall(r"(?:^|,)(?:mount)?addr=([^,]+)", options)
    servers += [
        each.rpartition(":")[0]
        for monitors in re.findall(r"(?:^|,)mon_addr=([^,]+)", options)
        for each in monitors.split("/")
    ]
    literal = re.findall(r"\[[0-9a-f:]+\]|(?<![\w.])\d+(?:\.\d+){3}(?![\w.])", source)
    return servers or literal or re.findall(r"^(?:[^@:]*@)?([A-Za-z0-9.-]+):", source)


def storage(text: str, sessions: str) -> Iterator[Peer]:
    """Servers of block devices: iSCSI and NVMe over TCP by sysfs, nbd by its connections."""
    nbd = False
    for line in text.splitlines():
        path, _, value = line.partition("/address:")  # there are colons in what follows, and before
        nbd |= path.startswith("/sys/block/nbd")
        if "/iscsi_connection/" in path:
            yield Peer("a disk by iSCSI", plain(value))
        elif found := re.search(r"traddr=([^,]+)", value):  # of NVMe on PCIe it is a bare BDF
            yield Peer("a disk by NVMe over fabrics", plain(found[1]))
    if nbd:
        for local, _, peer, port, _ in _established(sessions):
            if port == str(NBD_PORT):
                yield Peer("a network block device", peer, local)


def _established(text: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Local address and port, the peer's, and the program, of each connection."""
    for line in text.splitlines():
        match line.split():
            case "ESTAB", _, _, local, peer, *program:
                here, _, port = local.rpartition(":")
                there, _, peer_port = peer.rpartition(":")
                yield plain(here), port, plain(there), peer_port, " ".join(program)


def plain(address: str) -> str:
    """Without brackets and zone; an IPv4 address as such even if it was met in IPv6 form."""
    bare = address.strip("[]").partition("%")[0]
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        return bare
    mapped = parsed.ipv4_mapped if parsed.version == 6 else None
    return str(mapped or parsed)


def _functions(text: str) -> Iterator[Function]:
    for line in text.splitlines():
        if line:
            bdf, driver, interfaces, group, vfio = line.split("|")
            nodes = [f"/dev/vfio/{group}"] if group else []
            nodes += [f"/dev/vfio/devices/{vfio}"] if vfio else []
            yield Function(bdf, driver, tuple(interfaces.split()), tuple(nodes))


def _opened(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        node, _, program = line.partition(" ")
        if node:
            yield node, program
