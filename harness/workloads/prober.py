"""Round trips to a machine that answers ICMP echo, one at a time, timed by the kernel.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, CAP_NET_RAW and
nothing else: `python3 -I -S -c <this text> <specification as JSON>`. The specification:

    interface   the port to send from
    frame       the echo request as hex, Ethernet header first, IPv4 without VLAN tag; identifier,
                sequence number and checksum of ICMP are filled in here
    ident       the ICMP identifier to use
    count       probes to record, after `warmup` ones that are not
    timeout     seconds to wait for one answer
    interval    seconds between the starts of two probes; 0: as soon as the answer is there
    limit       seconds after which no further probe is sent

It says "ready\\n", waits for a line, probes, and prints one JSON object:

    rtt_ns      round trips by the kernel's software stamps, both taken next to the driver
    user_ns     the same by this program's clock, system calls and wake-up included
    sent, lost  probes sent, and how many of them had no answer in time
    unstamped   answered probes for which one of the stamps is missing
    source      whose stamps `rtt_ns` has: "kernel-software", or "user" if the kernel gave none

SO_TIMESTAMPING: Documentation/networking/timestamping.rst. The transmit stamp comes back on the
socket's error queue, marked with the number of the send call (OPT_ID).
"""

from __future__ import annotations

import array
import gc
import json
import socket
import struct
import sys
import time
from typing import Any

ETH_P_IP = 0x0800
SOL_PACKET, PACKET_TX_TIMESTAMP = 263, 16
SO_ATTACH_FILTER, SO_TIMESTAMPING = 26, 37
MSG_ERRQUEUE = 0x2000
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE = 1 << 1, 1 << 3, 1 << 4
OPT_ID, OPT_CMSG, OPT_TSONLY = 1 << 7, 1 << 10, 1 << 11
STAMPS = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_CMSG | OPT_TSONLY

ETHERNET = 14
ECHO_REPLY, ICMP = 0, 1
ANCILLARY = 256  # bytes for the control messages of one stamp


def echo_reply_filter(ident: int) -> bytes:
    """Classic BPF: accept IPv4 ICMP echo replies with our identifier, drop everything else."""
    program = (
        (0x30, 0, 0, ETHERNET + 9),  # A = IP protocol
        (0x15, 0, 6, ICMP),
        (0xB1, 0, 0, ETHERNET),  # X = length of the IP header
        (0x50, 0, 0, ETHERNET),  # A = ICMP type
        (0x15, 0, 3, ECHO_REPLY),
        (0x48, 0, 0, ETHERNET + 4),  # A = ICMP identifier
        (0x15, 0, 1, ident),
        (0x06, 0, 0, 0xFFFF),  # accept
        (0x06, 0, 0, 0),  # drop
    )
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def open_socket(interface: str, ident: int, timeout: float) -> socket.socket:
    # Protocol 0 receives nothing until bind names ETH_P_IP: no foreign frame gets past the filter.
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    code = array.array("B", echo_reply_filter(ident))
    address, size = code.buffer_info()
    port.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", size // 8, address)
    )
    port.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMPS)
    seconds, fraction = divmod(timeout, 1)
    port.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), int(fraction * 1e6))
    )
    port.bind((interface, ETH_P_IP))
    return port


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Template:
    """The request's bytes, of which every probe changes the sequence number and checksum."""

    def __init__(self, frame: bytes, ident: int) -> None:
        self.icmp = ETHERNET + (frame[ETHERNET] & 0xF) * 4
        self.frame = bytearray(frame)
        struct.pack_into("!HHH", self.frame, self.icmp + 2, 0, ident, 0)
        self.total = ~checksum(bytes(self.frame[self.icmp :])) & 0xFFFF

    def numbered(self, sequence: int) -> bytearray:
        total = self.total + sequence
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", self.frame, self.icmp + 2, ~total & 0xFFFF)
        struct.pack_into("!H", self.frame, self.icmp + 6, sequence)
        return self.frame


def sequence_of(frame: bytes) -> int:
    icmp = ETHERNET + (frame[ETHERNET] & 0xF) * 4
    return int.from_bytes(frame[icmp + 6 : icmp + 8], "big")


def software_stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Nanoseconds of the first of the three timespecs, the software stamp."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING:
            seconds, nanoseconds = struct.unpack_from("qq", data)
            if seconds or nanoseconds:
                return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


def drain(port: socket.socket, stamps: dict[int, int]) -> None:
    """Move what is on the error queue to `stamps`: number of the send call -> ns."""
    while True:
        try:
            _, ancillary, _, _ = port.recvmsg(0, ANCILLARY, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        stamp = software_stamp(ancillary)
        for level, kind, data in ancillary:
            if stamp is not None and (level, kind) == (SOL_PACKET, PACKET_TX_TIMESTAMP):
                # struct sock_extended_err; ee_data, its last word, is the number
                stamps[struct.unpack_from("IBBBBII", data)[6]] = stamp


def await_answer(port: socket.socket, sequence: int, end: float) -> int | bool | None:
    """The answer's receive stamp (None: it has none), or False if no answer came in time."""
    while True:
        try:
            frame, ancillary, _, _ = port.recvmsg(64, ANCILLARY)
        except BlockingIOError:
            return False
        if sequence_of(frame) == sequence:
            return software_stamp(ancillary)
        if time.monotonic() > end:  # only late answers to earlier probes
            return False


def probe(port: socket.socket, spec: dict[str, Any]) -> dict[str, Any]:
    template = Template(bytes.fromhex(spec["frame"]), spec["ident"])
    clock = time.monotonic_ns
    sent_stamps: dict[int, int] = {}
    answers: list[tuple[int, int | None, int]] = []  # number, receive stamp, user's ns
    begin = time.monotonic()
    number = 0
    for number in range(spec["warmup"] + spec["count"]):
        started = time.monotonic()
        if started - begin > spec["limit"]:
            break
        sequence = number & 0xFFFF
        frame = template.numbered(sequence)
        t0 = clock()
        port.send(frame)
        stamp = await_answer(port, sequence, started + spec["timeout"])
        t1 = clock()
        if stamp is not False:
            answers.append((number, stamp, t1 - t0))
        drain(port, sent_stamps)
        pause = started + spec["interval"] - time.monotonic()
        if pause > 0:
            time.sleep(pause)
    else:
        number += 1
    return summary(spec["warmup"], number, answers, sent_stamps)


def summary(
    warmup: int, sent: int, answers: list[tuple[int, int | None, int]], stamps: dict[int, int]
) -> dict[str, Any]:
    recorded = [answer for answer in answers if answer[0] >= warmup]
    stamped = [
        received - stamps[number]
        for number, received, _ in recorded
        if received is not None and number in stamps
    ]
    # The stamps are of the wall clock: if it was set back in between, they say nothing.
    round_trips = [ns for ns in stamped if ns > 0]
    user = [ns for _, _, ns in recorded]
    return {
        "rtt_ns": round_trips or user,
        "user_ns": user,
        "sent": max(0, sent - warmup),
        "lost": max(0, sent - warmup) - len(recorded),
        "unstamped": len(recorded) - len(round_trips),
        "source": "kernel-software" if round_trips else "user",
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    try:
        port = open_socket(spec["interface"], spec["ident"], spec["timeout"])
        gc.disable()
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(probe(port, spec)))
    except OSError as error:
        sys.exit(f"probing from {spec['interface']}: {error.strerror}")


if __name__ == "__main__":
    main()
