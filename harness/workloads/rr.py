"""Transactions: requests of the partner's over sockets, each of which a program in the guest
answers.

Unlike `latency`, whose echo the guest's kernel answers, a transaction wakes a process at either
end. The loop is closed: of each flow one request is under way, so a path that is slow is asked
less. `rr_asker_agent` asks, `rr_server_agent` answers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Literal

import msgspec

from harness.core.errors import ConfigError
from harness.core.facts import WorkloadFacts
from harness.core.percentiles import summarise
from harness.core.units import NS_PER_S
from harness.hosts.program import program
from harness.records.trial import TRANSACTIONS
from harness.window.window import Command
from harness.workloads.base import (
    TCP,
    Frames,
    ParsedOutput,
    Sizes,
    Target,
    answer_of,
    describe,
    require_positive,
)

Kind = Literal["tcp-rr", "udp-rr", "tcp-crr"]

PORT = 5202
"""And the next one. iperf3 has the one before."""

MOST_BYTES = 65_507
"""Payload of the largest UDP datagram over IPv4: 65,535 less 20 of IPv4 and 8 of UDP."""

MOST_FLOWS = 500
"""Either end has a file a flow, and a process may have 1,024 by default (RLIMIT_NOFILE)."""

TCP_TIMEOUT = 10.0
"""Seconds without an answer, after which a TCP transaction is given up."""

SEGMENTS = replace(TCP, in_turn=True)
DATAGRAMS = Frames(headers=42, answered=True, queued=True, in_turn=True)
"""Ethernet 14, IPv4 20, UDP 8."""

FRAGMENT = 1480
"""Bytes of IPv4 payload in a frame at MTU 1500."""

_FACTS: dict[Kind, WorkloadFacts] = {
    "tcp-rr": WorkloadFacts(
        phrase="Answering requests over TCP", summary=("transactions", "rtt_p50", "rtt_p99")
    ),
    "udp-rr": WorkloadFacts(
        phrase="Answering requests over UDP", summary=("transactions", "rtt_p50", "rtt_p99")
    ),
    "tcp-crr": WorkloadFacts(
        phrase="Taking a TCP connection for each request", summary=("transactions", "rtt_p99")
    ),
}


class Counted(msgspec.Struct, frozen=True):
    """The asker's answer; see rr_asker_agent.py."""

    recorded: int
    recorded_ns: int
    total: int
    rtt_ns: dict[int, int]
    lost: int
    missed: int


@dataclass(frozen=True)
class Exchange:
    """What is asked and answered: bytes of payload, over so many `flows` at a time."""

    request: int = 1
    response: int = 1
    flows: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.flows <= MOST_FLOWS:
            raise ConfigError(f"transactions go over 1 to {MOST_FLOWS} flows, not {self.flows}")
        for what, size in (("request", self.request), ("response", self.response)):
            if not 1 <= size <= MOST_BYTES:
                raise ConfigError(f"a {what} has 1 to {MOST_BYTES} bytes of payload, not {size}")


@dataclass(frozen=True)
class RequestResponse:
    """After `warmup` transactions `count` are recorded, or those of `seconds` if there is no count.

    `timeout` is in seconds: without an answer for so long a datagram's transaction is lost, and one
    over TCP fails the trial. `limit` is in seconds of the world's time, after which the trial is
    given up.
    """

    name: Kind
    exchange: Exchange = Exchange()
    warmup: int = 1000
    count: int = 0
    seconds: float = 5.0
    timeout: float = TCP_TIMEOUT
    limit: float = 60.0

    def __post_init__(self) -> None:
        require_positive(self.name, timeout=self.timeout, limit=self.limit)
        if self.warmup < 0 or self.count < 0:
            raise ConfigError(f"{self.name}: warmup and count must not be negative")
        if not self.count:
            require_positive(self.name, seconds=self.seconds)

    @property
    def facts(self) -> WorkloadFacts:
        return _FACTS[self.name]

    @property
    def frames(self) -> Frames:
        return DATAGRAMS if self.name == "udp-rr" else SEGMENTS

    @property
    def primary(self) -> tuple[str, ...]:
        both = ("transactions", "rtt_p50")
        return (*both, "loss") if self.name == "udp-rr" else both

    @property
    def parameters(self) -> dict[str, str]:
        length = {"count": str(self.count)} if self.count else {"seconds": f"{self.seconds:g}"}
        waits = {"timeout": f"{self.timeout:g}"} if self.name == "udp-rr" else {}
        return {
            "request": str(self.exchange.request),
            "response": str(self.exchange.response),
            "flows": str(self.exchange.flows),
            **length,
            "warmup": str(self.warmup),
            **waits,
        }

    def server(self, target: Target) -> tuple[str, ...]:
        return (*program(__package__, "rr_server"), json.dumps(self._shared(target)))

    def command(self, target: Target) -> Command:
        spec = {
            **self._shared(target),
            "kind": self.name,
            "source": target.partner_ip,
            "flows": self.exchange.flows,
            "warmup": self.warmup,
            "count": self.count,
            "seconds": 0 if self.count else self.seconds,
            "timeout": self.timeout,
        }
        argv = (*program(__package__, "rr_asker"), json.dumps(spec))
        return Command(argv, handshake=True, timeout=self.limit)

    def _shared(self, target: Target) -> dict[str, str | int]:
        return {
            "address": target.guest_ip,
            "port": PORT,
            "request": self.exchange.request,
            "response": self.exchange.response,
        }

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        raw = {"rr": stdout} if stdout else {}
        found = answer_of(stdout, Counted)
        if found is None:
            return ParsedOutput(raw=raw, error=f"who asks ended with {describe(rc, stderr)}")
        if found.recorded <= 0 or found.recorded_ns <= 0 or not found.rtt_ns:
            return ParsedOutput(
                lost=found.lost, raw=raw, error=f"none of {found.lost} requests was answered"
            )
        took = chain.from_iterable(repeat(ns, count) for ns, count in found.rtt_ns.items())
        waited = repeat(round(self.timeout * NS_PER_S), found.lost)
        metrics = {
            "transactions": found.recorded * NS_PER_S / found.recorded_ns,
            **summarise([*took, *waited]),
        }
        if self.name == "udp-rr":
            metrics["loss"] = 100 * found.lost / (found.recorded + found.lost)
        return ParsedOutput(
            metrics,
            lost=found.lost,
            sent_bytes=found.total * self.exchange.response,
            received_bytes=found.total * self.exchange.request,
            lost_bytes=found.missed * self._on_the_wire(),
            counters={TRANSACTIONS: found.total},
            raw=raw,
        )

    def _on_the_wire(self) -> int:
        """Bytes of the larger of the two datagrams, whose fragments have headers of their own."""
        payload = max(self.exchange.request, self.exchange.response)
        return payload + -(-(payload + 8) // FRAGMENT) * self.frames.headers


def _sizes(name: Kind, *, timeout: float, slow: float) -> Sizes:
    by_time = RequestResponse(name, timeout=timeout)
    return Sizes(
        by_time=by_time,
        by_size=replace(by_time, count=1000, warmup=50, limit=600.0),
        emulated=replace(by_time, warmup=20, timeout=slow, limit=600.0),
        usual=False,
    )


RR = (
    _sizes("tcp-rr", timeout=TCP_TIMEOUT, slow=60.0),
    _sizes("udp-rr", timeout=0.2, slow=2.0),
    _sizes("tcp-crr", timeout=TCP_TIMEOUT, slow=60.0),
)
"""A datagram's answer is waited for as long as TCP waits before it sends again (Linux's
TCP_RTO_MIN). By the virtual clock there are as many as p99 takes (harness.core.percentiles)."""
