"""Receive side scaling: the queue that a flow must come to, by the reference hash.

The hash is Toeplitz's as Microsoft's "RSS Hashing Functions" defines it; its input are addresses
and ports of a packet as they stand in its headers, the source first. The low bits of the hash
index the indirection table (82576 datasheet, "Receive-Side Scaling").
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.net.ethtool import parse_indirection
from harness.qualify.rig.rig import supported

HOST_KEY = "/proc/sys/net/core/netdev_rss_key"
"""The host's key, which drivers use that cannot tell theirs (sysctl/net.rst, netdev_rss_key)."""

KEY_BYTES = 40
"""As many as two IPv6 addresses and two ports need: 36 bytes and the last bit's 32."""

_KEY = re.compile(r"^[0-9a-f]{2}(?::[0-9a-f]{2}){%d,}$" % (KEY_BYTES - 1), re.MULTILINE)  # noqa: UP031
_PORTS = "L4 bytes 0 & 1"


@dataclass(frozen=True)
class Flow:
    """What of a packet goes into the hash."""

    source: str
    destination: str
    source_port: int
    destination_port: int

    def hashed(self, *, ports: bool) -> bytes:
        """The hash's input."""
        addresses = (ipaddress.ip_address(each) for each in (self.source, self.destination))
        packed = b"".join(each.packed for each in addresses)
        return packed + struct.pack(">HH", self.source_port, self.destination_port) * ports


@dataclass(frozen=True)
class Steering:
    """How an interface spreads flows over its queues."""

    key: bytes
    table: tuple[int, ...]

    def queue(self, flow: Flow, *, ports: bool) -> int:
        """The queue for a flow whose ports are hashed too, or only its addresses."""
        return self.table[toeplitz(self.key, flow.hashed(ports=ports)) % len(self.table)]


def toeplitz(key: bytes, data: bytes) -> int:
    """For each bit of `data` that is set, the 32 bits of `key` that begin at its place, added
    without carry."""
    bits = len(key) * 8
    whole = int.from_bytes(key)
    result = 0
    for place in range(len(data) * 8):
        if data[place // 8] & 0x80 >> place % 8:
            result ^= whole >> bits - 32 - place & 0xFFFFFFFF
    return result


def steering(host: Host, interface: str) -> Steering:
    """From `ethtool -x`; MissingCapability if the driver has no table or no key can be had."""
    shown = supported(host, ("ethtool", "-x", interface), "RSS indirection table").text
    key = parse_key(shown) or parse_key(host.run(("cat", HOST_KEY)).text)
    if not any(key):
        raise MissingCapability("RSS key", f"neither {interface}'s driver nor {HOST_KEY} tells it")
    return Steering(key[:KEY_BYTES], parse_indirection(shown))


def hashes_ports(host: Host, interface: str, kind: str) -> bool:
    """Whether ports of such flows ("tcp4", "udp6", ...) go into the hash (`ethtool -n`)."""
    argv = ("ethtool", "-n", interface, "rx-flow-hash", kind)
    return _PORTS in supported(host, argv, "RSS hash fields").text


def parse_key(text: str) -> bytes:
    """The key in what `ethtool -x` or HOST_KEY prints; empty if there is none."""
    found = _KEY.search(text)
    return bytes.fromhex(found[0].replace(":", "")) if found else b""
