"""Have one frame stamped by the NIC's clock as it is sent or as it arrives.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text> SPEC`, SPEC a JSON object:

    interface  of the program's own namespace
    configure  null to leave it, or [transmit type, receive filter] of HWTSTAMP_TX_* and _FILTER_*
    device     the clock, such as /dev/ptp0; without it no frame is sent
    frame      the frame as hex
    from       "" to send it from the interface and tell when it left; or the place, as
               "netns/interface", from which to send it, and then tell when it arrived

It prints a JSON object: `configured`, the interface's configuration before; `before` and `after`,
the clock around sending; `stamp`, what the NIC says of the frame, null if it says nothing in time.

Documentation/networking/timestamping.rst and include/uapi/linux/net_tstamp.h have the interface.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any

SIOCSHWTSTAMP, SIOCGHWTSTAMP = 0x89B0, 0x89B1
SO_TIMESTAMPING = SCM_TIMESTAMPING = 37
TX_HARDWARE, RX_HARDWARE, RAW_HARDWARE = 1 << 0, 1 << 2, 1 << 6
MSG_ERRQUEUE = 0x2000
ETH_P_ALL, PACKET_OUTGOING = 0x0003, 4
CLONE_NEWNET = 0x40000000
TIMES = struct.Struct("=6q")  # struct scm_timestamping: the third of three timespecs is the NIC's
PATIENCE = 3.0


def setns(path: str) -> None:
    """Enter a network namespace. Before python 3.12 there is no os.setns, so libc is asked."""
    there = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(there)


def packet_socket(interface: str, protocol: int, namespace: str = "") -> socket.socket:
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


def configuration(made: socket.socket, interface: str, new: list[int] | None) -> list[int]:
    """Transmit type and receive filter as they are, or as they are after a change."""
    content = ctypes.create_string_buffer(struct.pack("=3i", 0, *(new or (0, 0))), 12)
    request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(content))
    fcntl.ioctl(made, SIOCGHWTSTAMP if new is None else SIOCSHWTSTAMP, request)
    _, transmit, receive = struct.unpack("=3i", content.raw)
    return [transmit, receive]


def stamp(made: socket.socket, frame: bytes, flags: int) -> int | None:
    """The NIC's stamp of the frame, on the error queue (sent) or with it (received)."""
    poller = select.poll()
    poller.register(made, 0 if flags else select.POLLIN)  # the error queue always wakes
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not poller.poll(100):
            continue
        data, controls, _, source = made.recvmsg(2048, 512, flags)
        if frame not in data or (not flags and source[2] == PACKET_OUTGOING):
            continue
        for level, kind, content in controls:
            if level == socket.SOL_SOCKET and kind == SCM_TIMESTAMPING:
                *_, seconds, nanoseconds = TIMES.unpack(content[: TIMES.size])
                return seconds * 1_000_000_000 + nanoseconds or None
        if not flags:
            return None
    return None


def transfer(spec: dict[str, Any], made: socket.socket) -> dict[str, int | None]:
    frame = bytes.fromhex(spec["frame"])
    clock = ~os.open(spec["device"], os.O_RDWR) << 3 | 3
    wanted = RAW_HARDWARE | (RX_HARDWARE if spec["from"] else TX_HARDWARE)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, wanted)
    namespace, _, interface = spec["from"].partition("/")
    sender = packet_socket(interface, 0, namespace) if interface else made
    before = time.clock_gettime_ns(clock)
    sender.send(frame)
    seen = stamp(made, frame, 0 if interface else MSG_ERRQUEUE)
    return {"before": before, "stamp": seen, "after": time.clock_gettime_ns(clock)}


def main() -> None:
    spec = json.loads(sys.argv[1])
    made = packet_socket(spec["interface"], ETH_P_ALL)
    result: dict[str, Any] = {"configured": configuration(made, spec["interface"], None)}
    if spec["configure"] is not None:
        configuration(made, spec["interface"], spec["configure"])
    if spec["device"]:
        result |= transfer(spec, made)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
