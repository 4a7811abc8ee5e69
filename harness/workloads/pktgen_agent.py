"""Frames from a port by the kernel's own generator, and when their far end was through with them.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root, the kernel
module pktgen and nothing else: `python3 -I -S -c <this text> <specification as JSON>`, in the
port's network namespace. The specification:

    interface   the port to send from
    size        bytes of a frame without its checksum (FCS)
    imix        instead: pktgen's imix_weights, "60,7 590,4 1514,1" (Linux >= 5.15); "": none
    count       frames to send in all; 0: for so many `seconds`
    rate        frames a second in all; 0: as many as can be
    threads     CPUs that send, of those that this program may run on
    mac         the destination's Ethernet address
    source      IPv4 address of the frames, and
    destination theirs
    request     an echo request to whoever receives them, as hex: Ethernet and IPv4 headers first;
                identifier, sequence number and checksum of ICMP are filled in here; "": nobody
                receives them
    clones      how often a frame may be sent before a new one is made, where the driver lets it
    patience    seconds within which it must answer, when all is sent

Frames may wait in queues when the last one is sent, so many that a receiver seems to be faster
than it is. So echo requests are sent behind them, until one is answered as soon as if nothing
waited. (One that is answered late says little: a NIC may have handed it on by another queue.)

It says "ready\\n", waits for a line, sends, and prints one JSON object:

    sent        frames that the port's driver took
    errors      frames that it refused, as pktgen counts them
    ns          from the first to the last
    drained_ns  from the last one to when nothing waited any more; 0: nothing ever did
    quiet_ns    what an echo request takes before anything is sent, the median of five
    asks        echo requests sent after the line
    cpus        that sent

pktgen (Documentation/networking/pktgen.rst): "start" returns when all is sent, but looks for that
ten times a second, and its threads look for orders as rarely; so a thread of ours waits for it,
while the device's own file is read until it tells the result. `started` and `stopped` there are of
the monotonic clock. What is left of the device goes with the module or the namespace: to remove it
takes an eighth of a second.
"""

from __future__ import annotations

import _thread
import array
import contextlib
import fcntl
import json
import os
import re
import select
import socket
import struct
import sys
import time
from typing import Any

ROOT = "/proc/net/pktgen"
SIOCGIFMTU = 0x8921
ETHERNET = 14
ETH_P_IP = 0x0800
NS, US = 1_000_000_000, 1_000
IDENT = 0x6E71
ECHO_REQUEST, ECHO_REPLY = 8, 0
AGAIN = 0.00025  # seconds between two echo requests
SLOW_NS = 100_000  # beyond twice of what it takes without load one has waited
STARTS = 2.0  # seconds within which pktgen starts

DONE = re.compile(r"^Result: OK: \d+\(c\d+\+d\d+\) usec, \d+ ", re.MULTILINE)
COUNTED = re.compile(r"pkts-sofar: (\d+)\s+errors: (\d+)")
TIMES = re.compile(r"started: (\d+)us\s+stopped: (\d+)us")


class Refused(Exception):
    """The kernel does not take an order."""


def order(name: str, text: str) -> None:
    """Write one order to a file of pktgen's."""
    try:
        fd = os.open(f"{ROOT}/{name}", os.O_WRONLY)
        try:
            os.write(fd, f"{text}\n".encode())  # pgctrl takes off its last character
        finally:
            os.close(fd)
    except OSError as error:
        raise Refused(f"pktgen refuses {text!r} for {name}: {error.strerror}") from None


def read(name: str) -> str:
    with open(f"{ROOT}/{name}") as file:  # noqa: PTH123
        return file.read()


class Progress:
    """What a device's file says: frames, errors, microseconds of the monotonic clock."""

    def __init__(self, text: str) -> None:
        counted, times = COUNTED.search(text), TIMES.search(text)
        if counted is None or times is None:
            raise Refused(f"pktgen tells what is not known: {text[-300:]!r}")
        self.sent, self.errors = int(counted[1]), int(counted[2])
        self.started, self.stopped = int(times[1]), int(times[2])
        self.done = DONE.search(text) is not None


def mtu_of(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, SIOCGIFMTU, struct.pack("16si12x", interface.encode(), 0))
    return int(struct.unpack("16si12x", answer)[1])


def shares(total: int, parts: int) -> list[int]:
    """A number in so many whole parts."""
    return [total // parts + (place < total % parts) for place in range(parts)]


def set_up(spec: dict[str, Any], cpus: list[int]) -> list[str]:
    """A device for each CPU that sends; their names."""
    mtu, largest = mtu_of(spec["interface"]), spec["size"]
    for word in spec["imix"].split():
        largest = max(largest, int(word.partition(",")[0]))
    if largest > mtu + ETHERNET:
        raise Refused(f"its MTU of {mtu} is too small for frames of {largest + 4} bytes")
    order("pgctrl", "reset")
    devices, counts = [], shares(spec["count"], len(cpus))
    for place, cpu in enumerate(cpus):
        device = f"{spec['interface']}@{cpu}"
        order(f"kpktgend_{cpu}", f"add_device {device}")
        for text in settings(spec, counts[place], len(cpus)):
            order(device, text)
        with contextlib.suppress(Refused):
            order(device, f"clone_skb {spec['clones']}")
        devices.append(device)
    return devices


def settings(spec: dict[str, Any], count: int, parts: int) -> list[str]:
    """What one of so many devices is told."""
    found = [
        f"count {count}",
        f"delay {round(NS * parts / spec['rate']) if spec['rate'] else 0}",
        f"pkt_size {spec['size']}",
        f"dst_mac {spec['mac']}",
        f"dst {spec['destination']}",
        f"src_min {spec['source']}",
        f"src_max {spec['source']}",
        "udp_src_min 9",
        "udp_src_max 9",
        "udp_dst_min 9",
        "udp_dst_max 9",
        "flag QUEUE_MAP_CPU",
        "flag NO_TIMESTAMP",
    ]
    return [*found, f"imix_weights {spec['imix']}"] if spec["imix"] else found


def wait_for(devices: list[str], spec: dict[str, Any]) -> list[Progress]:
    """Until all is sent. Each look takes CPU time of who sends, so there are few: the next one
    comes when half of what is left may have been sent."""
    begun = time.monotonic()
    while True:
        seen = [Progress(read(device)) for device in devices]
        if all(each.done for each in seen):
            return seen
        now = time.monotonic()
        sent = sum(each.sent for each in seen)
        if not sent or any(each.started == 0 for each in seen):
            if now - begun > STARTS:
                raise Refused("pktgen does not start")
            time.sleep(0.002)
            continue
        took = now - min(each.started for each in seen) * US / NS
        if spec["count"]:
            left = (spec["count"] - sent) * took / sent
        else:
            left = spec["seconds"] - took
            if left <= 0:
                order("pgctrl", "stop")
                left = 0.001
        time.sleep(min(max(left / 2, 0.0001), 1.0) if spec["count"] else max(left, 0.0001))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(array.array("H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmp_of(frame: bytes) -> int:
    """Where ICMP begins in a frame."""
    return ETHERNET + (frame[ETHERNET] & 0xF) * 4


def numbered(frame: bytes, sequence: int) -> bytes:
    """The echo request with this number, and our identifier."""
    place = icmp_of(frame)
    head, data = frame[:place], frame[place + 8 :]
    body = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, IDENT, sequence & 0xFFFF) + data
    return head + body[:2] + struct.pack("=H", checksum(body)) + body[4:]


def answered(frame: bytes) -> int | None:
    """The sequence number of an answer to a request of ours; None if it is something else."""
    place = icmp_of(frame)
    if frame[ETHERNET + 9] != socket.IPPROTO_ICMP or len(frame) < place + 8:
        return None
    kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", frame, place)
    return int(sequence) if (kind, ident) == (ECHO_REPLY, IDENT) else None


class Asker:
    """Echo requests to whoever receives, past the addresses and routes of this end."""

    def __init__(self, interface: str, frame: bytes) -> None:
        self.frame = frame
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((interface, ETH_P_IP))
        self.left: list[int] = []  # when each was sent

    def ask(self, within: int, patience: float) -> tuple[int, int]:
        """When the first request was sent that is answered within so many ns, and how long that
        took: ns of the monotonic clock. Requests may wait in queues, and be lost in full ones."""
        first, end = len(self.left), time.monotonic() + patience
        while time.monotonic() < end:
            self.left.append(time.monotonic_ns())
            self.socket.send(numbered(self.frame, len(self.left) - 1))
            again = time.monotonic() + AGAIN
            while (left := again - time.monotonic()) > 0:
                if not select.select([self.socket], [], [], left)[0]:
                    break
                sequence, now = answered(self.socket.recv(2048)), time.monotonic_ns()
                if sequence is not None and first <= sequence < len(self.left):
                    asked = self.left[sequence]
                    if now - asked <= within:
                        return asked, now - asked
        raise Refused(f"no echo request is answered in time, {patience:g} s after the last frame")

    def quiet(self) -> int:
        """What a request takes when nothing else is sent: the median of five, in ns."""
        trips = []
        for _ in range(5):
            trips.append(self.ask(NS, STARTS)[1])
            time.sleep(AGAIN)
        return sorted(trips)[2]


def urgent() -> None:
    """Look when it is time, though who sends never gives up the CPU by itself."""
    with contextlib.suppress(OSError):  # it looks a little later then
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def starter(gone: list[str]) -> None:
    try:
        order("pgctrl", "start")
    except Refused as error:
        gone.append(str(error))


def send(spec: dict[str, Any], devices: list[str], asker: Asker | None) -> dict[str, Any]:
    """The answer of this program; see above."""
    quiet = asker.quiet() if asker else 0
    before = len(asker.left) if asker else 0
    urgent()
    print("ready", flush=True)
    sys.stdin.readline()
    gone: list[str] = []
    _thread.start_new_thread(starter, (gone,))
    seen = wait_for(devices, spec)
    if gone:
        raise Refused(gone[0])
    started = min(each.started for each in seen) * US
    stopped = max(each.stopped for each in seen) * US
    drained, asks = 0, 0
    if asker:
        asked, _ = asker.ask(2 * quiet + SLOW_NS, spec["patience"])
        waited = asked != asker.left[before]
        drained, asks = (asked - stopped) * waited, len(asker.left) - before
    return {
        "sent": sum(each.sent for each in seen),
        "errors": sum(each.errors for each in seen),
        "ns": stopped - started,
        "drained_ns": max(0, drained),
        "quiet_ns": quiet,
        "asks": asks,
        "cpus": len(devices),
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    cpus = sorted(os.sched_getaffinity(0))[-spec["threads"] :]
    try:
        devices = set_up(spec, cpus)
        frame = bytes.fromhex(spec["request"])
        asker = Asker(spec["interface"], frame) if frame else None
        found = send(spec, devices, asker)
    except (OSError, Refused) as error:
        sys.exit(f"sending from {spec['interface']}: {error}")
    # The thread that waits for "start" is not waited for.
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
