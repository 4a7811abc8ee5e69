"""Asks over sockets and counts answers: the end that asks of tcp-rr, udp-rr and tcp-crr.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> <specification as JSON>`. The specification:

    kind        "tcp-rr", "udp-rr", "tcp-crr"
    source      own address
    address     of who serves (rr_server_agent.py)
    port        of that; tcp-crr takes the next one
    request     bytes of payload in a request
    response    bytes of payload in its answer
    flows       sockets, each of which has one request under way and sends the next one when it has
                its answer ("closed loop"); of tcp-crr that is a connection each time
    warmup      transactions in front of those that are recorded
    count       transactions to record; 0: as many as there are in `seconds`
    seconds     to record for; 0: until there are `count`
    timeout     seconds after which an answer is missed: a datagram's transaction is then lost and
                the next one begins, of TCP it is the end

It reaches the server, says "ready\\n", waits for a line, and prints one JSON object:

    recorded     transactions that ended in the recorded part
    recorded_ns  how long that took
    total        transactions that ended, warm-up included
    rtt_ns       of those recorded, how many took how long: nanoseconds, rounded to three digits,
                 from one answer of a flow to its next; of tcp-crr to the end of the connection
    lost         of the recorded part, requests without an answer in time
    missed       the same of all, warm-up included

A datagram's first byte is its number, which its answer has, too: one that comes too late is not
taken for that of a later request.
"""

from __future__ import annotations

import abc
import array
import gc
import json
import select
import socket
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

NS = 1_000_000_000
PATIENCE = 5.0  # seconds to reach the server
DEAD = 50
"""Requests of a flow that have no answer, one after the other, when it is given up."""

SO_RCVTIMEO = 20  # takes a struct timeval; a socket that waits so takes no other system call
IP_BIND_ADDRESS_NO_PORT = 24
NEVER = 1 << 62
BUFFER = bytearray(1 << 16)


class Over(Exception):
    """Nothing more can be asked."""


def socket_of(source: str, kind: int) -> socket.socket:
    """A socket of the own address. Its port is chosen when it is known where to, so that there may
    be as many connections as there are ports."""
    own = socket.socket(socket.AF_INET, kind)
    if kind & socket.SOCK_STREAM:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    own.bind((source, 0))
    return own


class Flow:
    """One request under way, at most."""

    own: socket.socket

    def __init__(self) -> None:
        self.begun = 0  # when; 0: there is none
        self.number = 0  # of a datagram
        self.missing = 0  # bytes of the answer
        self.left = b""  # of the request, what has not found room yet


class Asker(abc.ABC):
    """What the three kinds have in common: their flows, and what is counted."""

    loses = False  # may a request go without an answer?

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.request, self.response = bytes(spec["request"]), int(spec["response"])
        self.timeout = round(spec["timeout"] * NS)
        self.flows = [Flow() for _ in range(spec["flows"])]
        self.by_fd: dict[int, Flow] = {}
        self.poller = select.epoll()
        self.total = self.missed = 0
        self.row = self.answered = 0  # lost since the last answer, and how many there were then

    def open(self) -> None:  # noqa: B027 - some have nothing to do
        """Before all transactions."""

    @abc.abstractmethod
    def begin(self, flow: Flow) -> None:
        """Send a request."""

    @abc.abstractmethod
    def take(self, flow: Flow) -> bool:
        """Take what has come; whether the transaction has ended."""

    def wait(self) -> Iterable[Flow]:
        """The flows that can be read from, or written to if that is waited for."""
        by_fd = self.by_fd
        return [by_fd[fd] for fd, _ in self.poller.poll(self.timeout / 4 / NS)]

    def keep(self, own: socket.socket, flow: Flow, events: int) -> None:
        flow.own = own
        self.by_fd[own.fileno()] = flow
        self.poller.register(own.fileno(), events)

    def measure(self, count: int, seconds: float, took: array.array[int]) -> int:
        """Transactions until `count` have ended, those that are lost among them, or for `seconds`,
        if these are not 0. How long each took is added to `took`, which is empty; the answer is how
        long all did. In nanoseconds."""
        clock, begin, take, wait = time.monotonic_ns, self.begin, self.take, self.wait
        add = took.append
        now = start = clock()
        until = start + round(seconds * NS) if seconds else NEVER
        most = count or NEVER
        look = start + self.timeout // 4
        for flow in self.flows:
            if not flow.begun:
                flow.begun = now
                begin(flow)
        while True:
            came = False
            for flow in wait():
                if not take(flow):
                    continue
                came = True
                now = clock()
                add(now - flow.begun)
                if len(took) >= most or now >= until:
                    flow.begun = 0
                    return now - start
                flow.begun = now
                begin(flow)
            if not came:
                now = clock()
            if now >= look:
                look = now + self.timeout // 4
                most -= self.look(now, len(took))
                if len(took) >= most or now >= until:
                    return now - start

    def look(self, now: int, answered: int) -> int:
        """How many requests have no answer in time, when so many had one."""
        late = [flow for flow in self.flows if flow.begun and now - flow.begun > self.timeout]
        if late and not self.loses:
            raise Over(f"no answer within {self.timeout / NS:g} s")
        for flow in late:
            flow.begun = now
            self.begin(flow)
        self.missed += len(late)
        self.row = len(late) + (self.row if answered == self.answered else 0)
        self.answered = answered
        if self.row >= DEAD * len(self.flows):
            raise Over(f"no answer to {self.row} requests in a row")
        return len(late)

    def finish(self) -> None:
        """Wait for what is still under way, so that it has come to both ends' counters."""
        end = time.monotonic_ns() + self.timeout
        while any(flow.begun for flow in self.flows) and time.monotonic_ns() < end:
            for flow in self.wait():
                if flow.begun and self.take(flow):
                    flow.begun = 0
                    self.total += 1
        self.missed += sum(bool(flow.begun) for flow in self.flows)

    def run(self) -> dict[str, Any]:
        spec = self.spec
        warmup, took = array.array("q"), array.array("q")
        if spec["warmup"]:
            self.measure(spec["warmup"], 0, warmup)
        before = self.missed
        recorded_ns = self.measure(spec["count"], spec["seconds"], took)
        lost = self.missed - before
        self.total += len(warmup) + len(took)
        self.finish()
        return {
            "recorded": len(took),
            "recorded_ns": recorded_ns,
            "total": self.total,
            "rtt_ns": histogram(took),
            "lost": lost,
            "missed": self.missed,
        }


class Steady(Asker):
    """A socket a flow, for all of its transactions. Of one flow alone nothing but its own socket is
    waited for: a system call less each time."""

    kind = socket.SOCK_STREAM

    def open(self) -> None:
        quarter = struct.pack("ll", *divmod(self.timeout // 4000, 1_000_000))
        for flow in self.flows:
            own = socket_of(self.spec["source"], self.kind)
            own.setsockopt(socket.SOL_SOCKET, SO_RCVTIMEO, quarter)
            own.connect((self.spec["address"], self.spec["port"]))
            self.keep(own, flow, select.EPOLLIN)

    def wait(self) -> Iterable[Flow]:
        return self.flows if len(self.flows) == 1 else super().wait()


class TcpRr(Steady):
    def begin(self, flow: Flow) -> None:
        flow.missing = self.response
        flow.own.sendall(self.request)

    def take(self, flow: Flow) -> bool:
        try:
            got = flow.own.recv_into(BUFFER)
        except BlockingIOError:
            return False
        if not got:
            raise Over("the server has closed the connection")
        flow.missing -= got
        return flow.missing <= 0


class UdpRr(Steady):
    kind = socket.SOCK_DGRAM
    loses = True

    def open(self) -> None:
        super().open()
        self.datagram = bytearray(self.request)

    def begin(self, flow: Flow) -> None:
        self.datagram[0] = flow.number = (flow.number + 1) & 0xFF
        flow.own.send(self.datagram)

    def take(self, flow: Flow) -> bool:
        try:
            flow.own.recv_into(BUFFER)
        except BlockingIOError:
            return False
        return BUFFER[0] == flow.number


class TcpCrr(Asker):
    """A connection each time: made, asked, read to its end, closed."""

    def begin(self, flow: Flow) -> None:
        spec = self.spec
        own = socket_of(spec["source"], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        own.connect_ex((spec["address"], spec["port"] + 1))  # send tells what became of it
        flow.left, flow.missing = self.request, self.response
        self.keep(own, flow, select.EPOLLOUT)

    def take(self, flow: Flow) -> bool:
        try:
            if flow.left:
                flow.left = flow.left[flow.own.send(flow.left) :]
                if not flow.left:
                    self.poller.modify(flow.own.fileno(), select.EPOLLIN)
                return False
            got = flow.own.recv_into(BUFFER)
        except BlockingIOError:
            return False
        flow.missing -= got
        if got:
            return False
        if flow.missing:
            raise Over("the server has closed the connection")
        flow.own.close()
        return True


KINDS: dict[str, type[Asker]] = {"tcp-rr": TcpRr, "udp-rr": UdpRr, "tcp-crr": TcpCrr}


def reach(spec: dict[str, Any]) -> None:
    """Until the server takes connections, for it may only just have been started."""
    end = time.monotonic() + PATIENCE
    while True:
        own = socket_of(spec["source"], socket.SOCK_STREAM)
        own.settimeout(PATIENCE)
        try:
            own.connect((spec["address"], spec["port"]))
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return
        finally:
            own.close()


def rounded(ns: int) -> int:
    """To three digits."""
    step = 1
    while ns >= 1000 * step:
        step *= 10
    return (ns + step // 2) // step * step


def histogram(values: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    found: dict[int, int] = {}
    for value, count in sorted(counts.items()):
        found[rounded(value)] = found.get(rounded(value), 0) + count
    return found


def main() -> None:
    spec = json.loads(sys.argv[1])
    gc.disable()
    try:
        asker = KINDS[spec["kind"]](spec)
        reach(spec)
        asker.open()
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asker.run()))
    except (OSError, Over) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sys.exit(f"asking {spec['address']} port {spec['port']}: {why}")


if __name__ == "__main__":
    main()
