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
    ask         IPv4 address of whoever receives them
    patience    seconds within which it must answer, when all is sent

Frames may wait in queues when the last one is sent, so many that a receiver seems to be faster
than it is. So an echo request is sent behind them: once it is answered, they are through.

It says "ready\\n", waits for a line, sends, and prints one JSON object:

    sent        frames that the port's driver took
    errors      frames that it refused, as pktgen counts them
    ns          from the first to the last
    drained_ns  from the last one to the answer to the first echo request that had one
    asked_ns    of that, what the request itself took
    quiet_ns    what one takes before anything is sent, the median of five
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
NS, US = 1_000_000_000, 1_000
CLONES = 1000  # of a frame, where a driver lets it be sent more than once at a time
IDENT = 0x6E71
ECHO_REQUEST, ECHO_REPLY = 8, 0
AGAIN = 0.001  # seconds between two echo requests
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
            os.write(fd, text.encode())
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
        if not spec["imix"]:
            try:
                order(device, f"clone_skb {CLONES}")
            except Refused:
                order(device, "clone_skb 0")
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


def request(sequence: int) -> bytes:
    """An ICMP echo request, IPv4 header apart."""
    body = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, IDENT, sequence & 0xFFFF) + bytes(18)
    return body[:2] + struct.pack("=H", checksum(body)) + body[4:]


def answered(packet: bytes) -> int | None:
    """The sequence number of an answer to a request of ours, as a raw socket hands it on."""
    icmp = packet[(packet[0] & 0xF) * 4 :]
    kind, _, _, ident, sequence = struct.unpack_from("!BBHHH", icmp)
    return int(sequence) if (kind, ident) == (ECHO_REPLY, IDENT) else None


class Asker:
    """Echo requests to whoever receives."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.connect((address, 0))
        self.left: list[int] = []  # when each was sent

    def ask(self, patience: float) -> tuple[int, int]:
        """When the first request that is answered was sent, and when its answer came: ns of the
        monotonic clock. Requests may be lost in a queue that is full, so there are several."""
        first, end = len(self.left), time.monotonic() + patience
        while time.monotonic() < end:
            self.left.append(time.monotonic_ns())
            self.socket.send(request(len(self.left) - 1))
            again = time.monotonic() + AGAIN
            while (left := again - time.monotonic()) > 0:
                if not select.select([self.socket], [], [], left)[0]:
                    break
                sequence, now = answered(self.socket.recv(2048)), time.monotonic_ns()
                if sequence is not None and first <= sequence < len(self.left):
                    return self.left[sequence], now
        raise Refused(f"no echo request is answered within {patience:g} s after the last frame")


def urgent() -> None:
    """Look when it is time, though who sends never gives up the CPU by itself."""
    with contextlib.suppress(OSError):  # it looks a little later then
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def starter(gone: list[str]) -> None:
    try:
        order("pgctrl", "start")
    except Refused as error:
        gone.append(str(error))


def send(spec: dict[str, Any], devices: list[str], asker: Asker, quiet: int) -> dict[str, Any]:
    before = len(asker.left)
    gone: list[str] = []
    _thread.start_new_thread(starter, (gone,))
    seen = wait_for(devices, spec)
    if gone:
        raise Refused(gone[0])
    asked, answer = asker.ask(spec["patience"])
    started, stopped = (
        min(each.started for each in seen) * US,
        max(each.stopped for each in seen) * US,
    )
    return {
        "sent": sum(each.sent for each in seen),
        "errors": sum(each.errors for each in seen),
        "ns": stopped - started,
        "drained_ns": answer - stopped,
        "asked_ns": answer - asked,
        "quiet_ns": quiet,
        "asks": len(asker.left) - before,
        "cpus": len(devices),
    }


def main() -> None:
    spec = json.loads(sys.argv[1])
    cpus = sorted(os.sched_getaffinity(0))[-spec["threads"] :]
    try:
        devices = set_up(spec, cpus)
        asker = Asker(spec["ask"])
        trips = sorted(last - first for first, last in (asker.ask(2.0) for _ in range(5)))
        urgent()
        print("ready", flush=True)
        sys.stdin.readline()
        found = send(spec, devices, asker, trips[2])
    except (OSError, Refused) as error:
        sys.exit(f"sending from {spec['interface']}: {error}")
    # The thread that waits for "start" is not waited for.
    print(json.dumps(found), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
