"""Frames as a test wants them, sent and heard on a host's interfaces.

Frames are made and taken apart on the controller (by scapy, in the suites), so that a host needs
nothing but python3; what happens on the host is one program's run (`frames_agent.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.hosts.program import last_words
from harness.qualify.agents import agent

QUIET_MS, LIMIT_MS = 300, 5000
"""Nothing that a port or a switch holds back in passing is held for longer."""

TIMEOUT_S = 120.0
"""For the program as a whole, by the world's clock, which may go slower than the host's."""


@dataclass(frozen=True)
class FramePort:
    """An interface on a host; `netns` is "" for the host's own namespace."""

    netns: str
    interface: str

    def __str__(self) -> str:
        return f"{self.netns}/{self.interface}"


@dataclass(frozen=True)
class Sent:
    """A frame to send: from the destination address on, without FCS."""

    place: FramePort
    data: bytes
    copies: int = 1


@dataclass(frozen=True)
class Frame:
    """A frame heard: from the destination address on. `tag` is the VLAN tag (TCI) that the NIC
    has taken off; `checksum` what the receiver says of it: "valid" if verified by the NIC.

    One that is `own` was sent by the place that heard it, and is as its driver was given it: `tag`
    and an "absent" checksum are left to the NIC."""

    data: bytes
    tag: int | None
    checksum: Literal["valid", "absent", "unknown"]
    own: bool = False


@dataclass(frozen=True)
class FrameStream:
    """Random bytes from a socket at one place to a socket at another, bound to `address`."""

    kind: Literal["tcp", "udp"]
    sender: FramePort
    receiver: FramePort
    address: str
    size: int


def exchange(
    host: Host,
    sent: Sequence[Sent],
    listen: Sequence[FramePort],
    *,
    promiscuous: Sequence[FramePort] = (),
    gap_ms: float = 0,
    quiet_ms: int = QUIET_MS,
    limit_ms: int = LIMIT_MS,
) -> dict[FramePort, tuple[Frame, ...]]:
    """Send frames and tell what is heard at each place, until nothing comes any more.

    A place in `promiscuous` is put into promiscuous mode while it listens. Everything that arrives
    is told, other traffic too: mark what is yours in its payload, see `marked`.
    LabError if an interface is not there or refuses to send.
    """
    send = [[str(each.place), each.data.hex(), each.copies] for each in sent]
    times = {"gap_ms": gap_ms, "quiet_ms": quiet_ms, "limit_ms": limit_ms}
    return _heard(host, listen, promiscuous, {"send": send, **times})[0]


def watched(
    host: Host,
    streams: Sequence[FrameStream],
    listen: Sequence[FramePort] = (),
    *,
    limit_ms: int = 4 * LIMIT_MS,
) -> tuple[dict[FramePort, tuple[Frame, ...]], tuple[bool, ...]]:
    """What is heard at each place while streams flow, and of each whether it arrived as sent.

    Frames that a place itself sends are told too.
    """
    flows = [
        [each.kind, str(each.sender), str(each.receiver), each.address, each.size]
        for each in streams
    ]
    heard, answer = _heard(host, listen, (), {"streams": flows, "own": True, "limit_ms": limit_ms})
    return heard, tuple(answer["intact"])


def heard_during(
    host: Host, argv: Sequence[str], promiscuous: Sequence[FramePort]
) -> tuple[str, dict[FramePort, tuple[Frame, ...]]]:
    """What a program on the host printed, and what was heard from its start until silence.

    LabError if it fails; what it printed last to its error stream is told.
    """
    heard, answer = _heard(host, (), promiscuous, {"run": list(argv)})
    return str(answer["printed"]), heard


NOTHING: dict[str, Any] = {
    "send": [],
    "streams": [],
    "run": [],
    "own": False,
    "gap_ms": 0,
    "quiet_ms": QUIET_MS,
    "limit_ms": LIMIT_MS,
}
"""A specification for the program in which nothing is sent."""


def _heard(
    host: Host,
    listen: Sequence[FramePort],
    promiscuous: Sequence[FramePort],
    wanted: dict[str, Any],
) -> tuple[dict[FramePort, tuple[Frame, ...]], dict[str, Any]]:
    """What was heard at each place, and all that the program told."""
    places = [*listen, *promiscuous]
    spec = {**NOTHING, **wanted, "listen": [[str(each), each in promiscuous] for each in places]}
    result = host.run(
        agent("frames"), timeout=TIMEOUT_S, stdin=json.dumps(spec).encode(), check=False
    )
    if result.ended().returncode != 0:
        raise LabError(f"{host.name}: frames could not be sent: {last_words(result)}")
    answer = json.loads(result.stdout)
    heard = {
        place: tuple(
            Frame(bytes.fromhex(data), tag, checksum, own)
            for data, tag, checksum, own in answer["heard"][str(place)]
        )
        for place in places
    }
    return heard, answer


def marked(frames: Sequence[Frame], mark: bytes) -> tuple[Frame, ...]:
    """Those that carry `mark` in their payload."""
    return tuple(frame for frame in frames if mark in frame.data)
