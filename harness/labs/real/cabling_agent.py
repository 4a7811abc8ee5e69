"""Send a frame of our own from each of some interfaces and tell which of them hear it.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text> TOKEN ROUNDS INTERVAL_MS INTERFACE...`. It prints a line
"HEARER SENDER" for each pair of which one heard the other.

EtherType 0x88b5 is for local experiments (IEEE 802, table of EtherTypes). The frames go to
01:80:c2:00:00:0e, the address of the nearest bridge: no bridge and no switch may pass them on
(IEEE 802.1Q, 8.6.3). So whoever hears one is at the other end of a cable, and a network that a
port is plugged into hears nothing beyond its first switch.
"""

import contextlib
import select
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B5
NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST = 263, 1, 0
PACKET_OUTGOING = 4
LARGEST = 2048


def opened(interface: str) -> socket.socket:
    """A raw socket on the interface that hears our frames (packet(7))."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    made.bind((interface, ETHERTYPE))
    index = socket.if_nametoindex(interface)
    membership = struct.pack("iHH8s", index, PACKET_MR_MULTICAST, 6, NEAREST_BRIDGE)
    made.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    made.setblocking(False)
    return made


def main(token: str, rounds: str, interval_ms: str, *interfaces: str) -> None:
    mark = token.encode()
    sockets = {opened(interface): interface for interface in interfaces}
    heard = set()
    for _ in range(int(rounds)):
        for made, interface in sockets.items():
            source = made.getsockname()[4]
            payload = mark + b" " + interface.encode() + b"\n"
            frame = (
                NEAREST_BRIDGE + source + struct.pack("!H", ETHERTYPE) + payload.ljust(46, b"\0")
            )
            with contextlib.suppress(OSError):  # it went down, or its queue is full: next round
                made.send(frame)
        end = time.monotonic() + int(interval_ms) / 1000
        while (left := end - time.monotonic()) > 0:
            for made in select.select(list(sockets), [], [], left)[0]:
                with contextlib.suppress(OSError):
                    data, source = made.recvfrom(LARGEST)
                    word, _, sender = data[14:].partition(b"\n")[0].partition(b" ")
                    if word == mark and source[2] != PACKET_OUTGOING:
                        heard.add((sockets[made], sender.decode()))
    for pair in sorted(heard):
        print(*pair)


if __name__ == "__main__":
    main(*sys.argv[1:])
