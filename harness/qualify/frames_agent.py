"""Send frames as given from some interfaces and tell what others hear, in one go.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text>`, the specification as JSON on stdin:

    send     [[place, frame as hex, copies], ...], in this order
    listen   [[place, promiscuous], ...]
    gap_ms   milliseconds between two frames
    quiet_ms milliseconds of silence after which nothing more is expected
    limit_ms milliseconds after which it ends in any case

A place is "netns/interface", "/interface" in the program's own namespace. It prints one JSON
object: place -> [[frame as hex, VLAN tag or null, what the kernel says of its checksum], ...], in
the order of arrival, without what the place itself sent.

VLAN tags that the NIC has taken off come beside the frame (PACKET_AUXDATA in packet(7), `struct
tpacket_auxdata` and TP_STATUS_* in include/uapi/linux/if_packet.h).
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import sys
import time

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
LARGEST = 65536


def packet_socket(place: str, protocol: int) -> socket.socket:
    """A raw socket on the interface, made in its namespace; ours afterwards as before."""
    namespace, _, interface = place.partition("/")
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if namespace:
            setns(f"/run/netns/{namespace}")
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        made.bind((interface, protocol))
        return made
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


def receive(made: socket.socket) -> tuple[str, int | None, str] | None:
    """One frame that arrived, None for one that was sent from here."""
    data, controls, _, source = made.recvmsg(LARGEST, socket.CMSG_SPACE(AUXDATA.size))
    if source[2] == PACKET_OUTGOING:
        return None
    tag, checksum = None, "unknown"
    for level, kind, content in controls:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, _ = AUXDATA.unpack(content[: AUXDATA.size])
            tag = tci if status & VLAN_VALID else None
            if status & CSUM_VALID:
                checksum = "valid"
            elif status & CSUM_NOT_READY:
                checksum = "absent"
    return data.hex(), tag, checksum


def exchange(spec: dict) -> dict[str, list]:  # type: ignore[type-arg]
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
            if frame is not None:
                heard[places[made]].append(frame)
        return bool(ready)

    for place, frame, copies in spec["send"]:
        for _ in range(copies):
            senders[place].send(bytes.fromhex(frame))
            hear(spec["gap_ms"])
    end = time.monotonic() + spec["limit_ms"] / 1000
    while time.monotonic() < end and hear(spec["quiet_ms"]):
        pass
    return heard


if __name__ == "__main__":
    json.dump(exchange(json.load(sys.stdin)), sys.stdout)
