"""The wire to the QEMU guest agent: JSON lines over a unix socket, every answer with a limit.

The agent answers in order and without ids, so after an answer that came too late both ends must
find a common point again: `guest-sync-delimited` puts the byte 0xFF, which no JSON text holds, in
front of its own. (docs/interop/qemu-ga-ref in QEMU's manual.)
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, GuestGone, GuestSilent, LabError

MARK = b"\xff"
CHUNK = 1 << 16
SHOWN = 200


class AgentError(LabError):
    """The agent refused a request. `description` is its own."""

    def __init__(self, guest: str, request: str, description: str) -> None:
        super().__init__(f"{guest}: guest agent: {request}: {description}")
        self.request, self.description = request, description


class AgentConnection:
    """A connection to the agent of one guest. Made by `connect_agent`; any thread may ask."""

    def __init__(self, guest: str, wire: socket.socket) -> None:
        self.guest = guest
        self._wire = wire
        self._buffer = bytearray()
        self._numbers = itertools.count(os.getpid() << 20)
        self._in_step = False
        self._lock = threading.Lock()

    def ask(self, request: str, timeout: float = 10.0, /, **arguments: object) -> Any:
        """What the agent returns.

        Raises AgentError if it refuses, GuestSilent after `timeout` seconds, GuestGone
        if the connection ends.
        """
        what = f"{self.guest}: the guest agent's answer to {_shown(request, arguments)}"
        deadline = Deadline(timeout, what)
        with self._lock:
            if not self._in_step:
                self._find_step(self._call_step(deadline), deadline)
            self._in_step = False
            self._send(request, arguments, deadline)
            answer = self._line(deadline)
            self._in_step = True
        return self._returned(request, answer)

    def await_first(self, deadline: Deadline, check: Callable[[], None], interval: float) -> None:
        """Return when the agent answers for the first time.

        `check` is called every `interval` seconds; what it raises ends the wait. The request is
        sent once: it waits in QEMU until the guest opens its end.
        """
        with self._lock:
            called = self._call_step(deadline)
            while True:
                patience = Deadline(min(interval, deadline.left), deadline.what)
                try:
                    self._find_step(called, patience)
                    return
                except DeadlineExpired:
                    check()
                    deadline.check()

    def _call_step(self, deadline: Deadline) -> int:
        """Ask for a common point; returns the number that marks it."""
        number = next(self._numbers)
        # The mark makes the agent's parser drop whatever half request it may hold.
        with self._limited(deadline):
            self._wire.sendall(MARK)
        self._send("guest-sync-delimited", {"id": number}, deadline)
        return number

    def _find_step(self, number: int, deadline: Deadline) -> None:
        """Drop everything that came before the common point."""
        while True:
            _, mark, answer = self._line(deadline).rpartition(MARK)
            if mark and self._returned("guest-sync-delimited", answer) == number:
                self._in_step = True
                return

    def _returned(self, request: str, line: bytes) -> Any:
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise LabError(
                f"{self.guest}: the guest agent answered {request} with {line[:200]!r}"
            ) from error
        if "error" in answer:
            raise AgentError(self.guest, request, str(answer["error"].get("desc", answer)))
        return answer.get("return")

    def _send(self, request: str, arguments: dict[str, object], deadline: Deadline) -> None:
        message: dict[str, object] = {"execute": request}
        if arguments:
            message["arguments"] = arguments
        with self._limited(deadline):
            self._wire.sendall(json.dumps(message).encode() + b"\n")

    def _line(self, deadline: Deadline) -> bytes:
        """The next line; what has come of it stays for the next call if the time is up."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            with self._limited(deadline):
                data = self._wire.recv(CHUNK)
            if not data:
                raise GuestGone(f"{deadline.what} did not come: the guest is gone")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    @contextmanager
    def _limited(self, deadline: Deadline) -> Iterator[None]:
        self._wire.settimeout(max(deadline.left, 0.001))
        try:
            deadline.check()
            yield
        except (TimeoutError, DeadlineExpired) as error:
            raise GuestSilent(
                f"{deadline.what} did not come within {deadline.seconds:g} s"
            ) from error
        except OSError as error:
            raise GuestGone(f"{deadline.what} did not come: {error}") from error


def _shown(request: str, arguments: dict[str, object]) -> str:
    """The request with what a person needs to recognise it."""
    words = [request, str(arguments.get("path", ""))]
    more = arguments.get("arg", ())
    if isinstance(more, list):
        words += map(str, more)
    text = " ".join(word for word in words if word)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@contextmanager
def connect_agent(guest: str, path: str) -> Iterator[AgentConnection]:
    """Connect to the controller's end of the agent's channel, the unix socket `path`.

    QEMU accepts before the guest runs; the first answer tells whether there is an agent.
    """
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(10.0)
        try:
            wire.connect(path)
        except OSError as error:
            raise GuestGone(f"{guest}: cannot reach its agent's socket: {error}") from error
        yield AgentConnection(guest, wire)
