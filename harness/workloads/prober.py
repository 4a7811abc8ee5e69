"""Round trips to a machine that answers ICMP echo, sent on a fixed schedule, timed by the kernel.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, CAP_NET_RAW and
nothing else: `python3 -I -S -c <this text> <specification as JSON>`. The specification:

    interface   the port to send from
    frame       the echo request as hex, Ethernet header first, IPv4 without VLAN tag; identifier,
                sequence number and checksum of ICMP are filled in here
    ident       the ICMP identifier to use
    count       probes to record, after `warmup` ones that are not
    timeout     seconds within which an answer counts
    interval    seconds between two probes, on average
    limit       seconds after which no further probe is sent

Probe n is due in the nth interval, whatever has become of the others: a prober that waits for each
answer asks least often while answers are slow, and so leaves out most of what it is looking for
("coordinated omission", Tene 2013). Where in its interval, `due` says. Answers are matched by their
sequence number.

It says "ready\\n", waits for a line, probes, and prints one JSON object:

    rtt_ns      round trips in order of sending, by the kernel's software stamps, both taken next to
                the driver; of a probe that lacks one, by the user's clock, which says more
    user_ns     the same by this program's clock, system calls and wake-up included
    sent, lost  probes sent, and how many of them had no answer in time
    late        of the lost ones, those that were answered too late
    missed      answers that did not come in time, warm-up included
    unstamped   answered probes for which one of the stamps is missing
    behind      probes that left more than an interval after they were due
    source      whose stamps `rtt_ns` has: "kernel-software"; or "user" if more than one answer in a
                hundred lacks one: then all are by the user's clock

SO_TIMESTAMPING: Documentation/networking/timestamping.rst. The transmit stamp comes back on the
socket's error queue, marked with the number of the send call (OPT_ID). Sending has a socket of its
own, so that these stamps wake nobody who waits for answers.
"""

from __future__ import annotations

import array
import gc
import json
import select
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
NS = 1_000_000_000
GOLDEN = (5**0.5 - 1) / 2
UNSTAMPED = 0.01  # share of the answers that may lack a stamp


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


def open_socket(interface: str, protocol: int, ident: int) -> socket.socket:
    """A packet socket with time stamps; with ETH_P_IP it receives our answers, with 0 nothing."""
    # Protocol 0 receives nothing until bind names ETH_P_IP: no foreign frame gets past the filter.
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    code = array.array("B", echo_reply_filter(ident))
    address, size = code.buffer_info()
    port.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", size // 8, address)
    )
    port.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, STAMPS)
    port.bind((interface, protocol))
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


class Probes:
    """What became of each probe, by its number."""

    def __init__(self, timeout_ns: int) -> None:
        self.timeout_ns = timeout_ns
        self.left: list[int] = []  # when it was handed to the kernel
        self.behind: list[bool] = []
        self.answered: list[int] = []  # how long that took by the same clock; 0: not yet
        self.received: list[int | None] = []  # the answer's stamp
        self.late = 0
        self.open = 0  # all before this number have their answer

    def send(self, leaves: int, now: int, interval_ns: int) -> None:
        self.left.append(now)
        self.behind.append(now - leaves > interval_ns)
        self.answered.append(0)
        self.received.append(None)

    def answer(self, sequence: int, now: int, stamp: int | None) -> None:
        """An answer that arrived; one to a probe of long ago is late, a second one is none."""
        last = len(self.left) - 1
        number = last - ((last - sequence) & 0xFFFF)
        if number < 0 or self.answered[number]:
            return
        took = now - self.left[number]
        if took > self.timeout_ns:
            self.late += 1
            self.answered[number] = -1
        else:
            self.answered[number] = max(1, took)
            self.received[number] = stamp

    def deadline(self) -> int:
        """Until when an answer may come that counts; 0 if none is wanted any more."""
        while self.open < len(self.left) and self.answered[self.open]:
            self.open += 1
        if self.open == len(self.left):
            return 0
        number = len(self.left) - 1
        while self.answered[number]:
            number -= 1
        return self.left[number] + self.timeout_ns


def receive(port: socket.socket, probes: Probes) -> None:
    """Take one answer, if there is one."""
    try:
        frame, ancillary, _, _ = port.recvmsg(64, ANCILLARY, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    probes.answer(sequence_of(frame), time.monotonic_ns(), software_stamp(ancillary))


def due(number: int, interval_ns: int) -> int:
    """Nanoseconds after the start at which a probe is to leave.

    Its place in its interval is the fraction of n times the golden ratio, by which probes are 0.6
    or 1.6 intervals apart and meet every phase alike of whatever else comes round. Probes a whole
    interval apart meet the kernels' ticks always or never (RFC 2330, section 11.1): one boot in
    eight, whose guest was always awake when its tick was due, had twice the exits.
    """
    return int((number + number * GOLDEN % 1) * interval_ns)


def probe(sender: socket.socket, receiver: socket.socket, spec: dict[str, Any]) -> dict[str, Any]:
    template = Template(bytes.fromhex(spec["frame"]), spec["ident"])
    clock = time.monotonic_ns
    interval, limit = round(spec["interval"] * NS), round(spec["limit"] * NS)
    total = spec["warmup"] + spec["count"]
    probes = Probes(round(spec["timeout"] * NS))
    sent_stamps: dict[int, int] = {}
    number, begin = 0, clock()
    while True:
        now, leaves = clock(), begin + due(number, interval)
        if number < total and now - begin > limit:
            total = number
        if number < total and now >= leaves:
            frame = template.numbered(number & 0xFFFF)
            number += 1
            wait = begin + due(number, interval) - now if number < total else probes.timeout_ns
            probes.send(leaves, clock(), interval)
            sender.send(frame)
            # Nothing between these two: where there is one CPU, it is the answer that waits.
            answered = select.select([receiver], [], [], max(0, wait) / NS)[0]
        else:
            until = leaves if number < total else probes.deadline()
            if now >= until and number >= total:
                break
            answered = select.select([receiver], [], [], (until - now) / NS)[0]
        if answered:
            receive(receiver, probes)
            # While nothing is under way: what is read here keeps no answer waiting.
            drain(sender, sent_stamps)
    drain(sender, sent_stamps)
    return summary(spec["warmup"], probes, sent_stamps)


def summary(warmup: int, probes: Probes, stamps: dict[int, int]) -> dict[str, Any]:
    """The answer of this program; see above."""
    recorded = range(warmup, len(probes.left))
    answered = [number for number in recorded if probes.answered[number] > 0]
    user = [probes.answered[number] for number in answered]
    unstamped, stamped = 0, []
    for number in answered:
        received, sent, most = probes.received[number], stamps.get(number), probes.answered[number]
        took = received - sent if received is not None and sent is not None else 0
        # The stamps are of the wall clock: if it was set in between, they say nothing.
        good = 0 < took <= most
        stamped.append(took if good else most)
        unstamped += not good
    kernel = unstamped <= UNSTAMPED * len(answered)
    return {
        "rtt_ns": stamped if kernel else user,
        "user_ns": user,
        "sent": len(recorded),
        "lost": len(recorded) - len(answered),
        "late": sum(probes.answered[number] < 0 for number in recorded),
        "missed": sum(took <= 0 for took in probes.answered),
        "unstamped": unstamped,
        "behind": sum(probes.behind[number] for number in recorded),
        "source": "kernel-software" if kernel else "user",
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    try:
        sender = open_socket(spec["interface"], 0, spec["ident"])
        receiver = open_socket(spec["interface"], ETH_P_IP, spec["ident"])
        gc.disable()
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(probe(sender, receiver, spec)))
    except OSError as error:
        sys.exit(f"probing from {spec['interface']}: {error.strerror}")


if __name__ == "__main__":
    main()
