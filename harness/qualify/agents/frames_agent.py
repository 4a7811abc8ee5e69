"""Send frames or a socket's bytes from some interfaces and tell what others hear, in one go.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text>`, the specification as JSON on stdin:

    send     [[place, frame as hex, copies], ...], in this order
    streams  [[kind ("tcp" or "udp"), sender's place, receiver's place, receiver's address,
             bytes], ...]: so many random bytes from a socket to another, one stream at a time
    listen   [[place, promiscuous], ...]
    run      argv of a program that runs, to its end, before the frames are sent
    own      whether to tell also what a place itself sent
    gap_ms   milliseconds between two frames
    quiet_ms milliseconds of silence after which nothing more is expected
    limit_ms milliseconds after which it ends in any case

A place is "netns/interface", "/interface" in the program's own namespace. It prints one JSON
object: `heard`, place -> [[frame as hex, VLAN tag or null, what the kernel says of its checksum,
whether the place itself sent it], ...] in the order of arrival; `intact`, for each stream whether
it arrived, all of it and as it was sent; `printed`, what the program printed.

VLAN tags that the NIC has taken off come beside the frame (PACKET_AUXDATA in packet(7), `struct
tpacket_auxdata` and TP_STATUS_* in include/uapi/linux/if_packet.h).
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 1, 1
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
VLAN_VALID, CSUM_NOT_READY, CSUM_VALID = 1 << 4, 1 << 3, 1 << 7
CLONE_NEWNET = 0x40000000
BUFFER = 8 << 20
LARGEST = 65536 + 18
DATAGRAM = 1200
CONNECT_S = 5


def packet_socket(place: str, protocol: int) -> socket.socket:
    """A raw socket on the interface, made in its namespace."""
    with inside(place):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind((place.partition("/")[2], protocol))
        return made


@contextlib.contextmanager
def inside(place: str) -> Iterator[None]:
    """In the namespace of a place; afterwards in ours as before. Sockets stay where they were
    made."""
    namespace = place.partition("/")[0]
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if namespace:
            setns(f"/run/netns/{namespace}")
        yield
    finally:
        if namespace:
            setns(f"/proc/self/fd/{home}")
        os.close(home)


def setns(path: str) -> None:
    """Enter a network namespace. Before python 3.12 there is no os.setns, so libc is asked."""
    there = os.open(path, os.O_RDONLY)
    try:
        import ctypes

        if ctypes.CDLL(None, use_errno=True).setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(there)


def listener(place: str, promiscuous: bool) -> socket.socket:
    made = packet_socket(place, ETH_P_ALL)
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    if promiscuous:
        index = socket_index(made)
        membership = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        made.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    made.setblocking(False)
    return made


def socket_index(made: socket.socket) -> int:
    """The interface's index; asked through the socket, so in the namespace that it was made in."""
    import fcntl

    siocgifindex = 0x8933
    request = array.array("B", struct.pack("16s16x", made.getsockname()[0].encode()))
    fcntl.ioctl(made, siocgifindex, request)
    return int(struct.unpack_from("i", request.tobytes(), 16)[0])


def receive(made: socket.socket) -> tuple[str, int | None, str, bool]:
    """One frame that arrived, or that was sent from here."""
    data, controls, _, source = made.recvmsg(LARGEST, socket.CMSG_SPACE(AUXDATA.size))
    tag, checksum = None, "unknown"
    for level, kind, content in controls:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, _ = AUXDATA.unpack(content[: AUXDATA.size])
            tag = tci if status & VLAN_VALID else None
            if status & CSUM_VALID:
                checksum = "valid"
            elif status & CSUM_NOT_READY:
                checksum = "absent"
    return data.hex(), tag, checksum, source[2] == PACKET_OUTGOING


class RandomBytes:
    """Random bytes on their way from a socket at one place to a socket at another."""

    def __init__(self, kind: str, sender: str, receiver: str, address: str, size: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        what = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        with inside(receiver):
            self.target = socket.socket(family, what)
        with inside(sender):
            self.source = socket.socket(family, what)
        self.target.bind((address, 0))
        if kind == "tcp":
            self.target.listen()
        self.kind = kind
        self.data, self.sent, self.arrived = os.urandom(size), 0, bytearray()

    def connect(self) -> None:
        """OSError if no connection comes about."""
        self.source.settimeout(CONNECT_S)
        self.source.connect(self.target.getsockname())
        if self.kind == "tcp":
            self.target = self.target.accept()[0]
        self.source.setblocking(False)
        self.target.setblocking(False)

    def step(self) -> None:
        """Send and receive what can be at the moment."""
        piece = len(self.data) if self.kind == "tcp" else DATAGRAM
        with contextlib.suppress(BlockingIOError):
            if self.sent < len(self.data):
                self.sent += self.source.send(self.data[self.sent : self.sent + piece])
        with contextlib.suppress(BlockingIOError):
            self.arrived += self.target.recv(LARGEST)

    @property
    def over(self) -> bool:
        return len(self.arrived) >= len(self.data)

    def flow(self, hear: Callable[[float], bool], end: float) -> bool:
        """Whether it arrived in time, all of it and as it was sent."""
        try:
            self.connect()
            while not self.over and time.monotonic() < end:
                self.step()
                hear(1)
        except OSError as error:
            print(f"a stream broke: {error}", file=sys.stderr)
        return self.arrived == self.data


def exchange(spec: dict) -> dict:  # type: ignore[type-arg]
    heard: dict[str, list] = {place: [] for place, _ in spec["listen"]}  # type: ignore[type-arg]
    places = {listener(place, promiscuous): place for place, promiscuous in spec["listen"]}
    senders = {place: packet_socket(place, 0) for place, _, _ in spec["send"]}
    poller = select.poll()
    sockets = {made.fileno(): made for made in places}
    for number in sockets:
        poller.register(number, select.POLLIN)

    def hear(milliseconds: float) -> bool:
        ready = poller.poll(milliseconds)
        for number, _ in ready:
            made = sockets[number]
            try:
                frame = receive(made)
            except OSError:  # the interface went down meanwhile, or a spurious wake-up
                continue
            if spec["own"] or not frame[-1]:
                heard[places[made]].append(frame)
        return bool(ready)

    printed = run(spec["run"])
    for place, frame, copies in spec["send"]:
        for _ in range(copies):
            senders[place].send(bytes.fromhex(frame))
            hear(spec["gap_ms"])
    end = time.monotonic() + spec["limit_ms"] / 1000
    intact = [RandomBytes(*each).flow(hear, end) for each in spec["streams"]]
    while time.monotonic() < end and hear(spec["quiet_ms"]):
        pass
    return {"heard": heard, "intact": intact, "printed": printed}


def run(argv: list[str]) -> str:
    """What the program prints; its complaint is ours if it fails."""
    if not argv:
        return ""
    import subprocess

    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{argv[0]}: {result.stderr.strip() or result.returncode}")
    return result.stdout


if __name__ == "__main__":
    json.dump(exchange(json.load(sys.stdin)), sys.stdout)
