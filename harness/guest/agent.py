"""A guest as a Host: commands and files through the QEMU guest agent, no network needed."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from harness.core.deadline import Deadline
from harness.core.errors import (
    DeadlineExpired,
    GuestGone,
    GuestSilent,
    LabError,
    MissingCapability,
    NotStarted,
    Refused,
)
from harness.guest.qga import AgentConnection, AgentError
from harness.hosts.base import CommandResult
from harness.hosts.ssh import EXISTS, glob_argv

GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""

FIRST_LOOK, LONGEST_LOOK = 0.01, 0.5
"""Seconds between looks at a running command: each look costs the guest a few VM exits, so they
grow rare with time. What must not be disturbed is started with `spawn` and not looked at."""

PIECE = 1 << 20
"""Bytes of a file that one request carries."""

ANSWER = 20.0
"""Seconds for the agent's own answer; a guest under emulation that is busy may take some."""

SIGNAL = 'kill -s "$1" -- "-$2" 2>/dev/null'


class GuestProcess:
    """A command in the guest, in a session of its own so that its children end with it."""

    def __init__(self, host: GuestHost, argv: tuple[str, ...], stdin: bytes | None) -> None:
        self.argv = argv
        self._host = host
        self._agent = host.agent
        self._result: CommandResult | None = None
        more = {} if stdin is None else {"input-data": base64.b64encode(stdin).decode()}
        started = self._agent.ask(
            "guest-exec",
            ANSWER,
            path="setsid",
            arg=list(argv),
            **{"capture-output": True},
            **more,
        )
        self.pid = int(started["pid"])

    def poll(self) -> int | None:
        self._look()
        return None if self._result is None else self._result.returncode

    def wait(self, timeout: float) -> CommandResult:
        deadline = Deadline(timeout, f"{self._host.name}: the end of {' '.join(self.argv)}")
        pause = FIRST_LOOK
        while self.poll() is None:
            if deadline.expired:
                raise DeadlineExpired(
                    f"{self._host.name}: {' '.join(self.argv)} did not end within {timeout:g} s"
                )
            time.sleep(min(pause, deadline.left))
            pause = min(pause * 1.5, LONGEST_LOOK)
        assert self._result is not None
        return self._result

    def output(self) -> bytes:
        return b"" if self._result is None else self._result.stdout

    def terminate(self) -> None:
        """SIGTERM to its session, SIGKILL after GRACE."""
        for name in ("TERM", "KILL"):
            if self.poll() is not None:
                return
            kill = ("sh", "-c", SIGNAL, "sh", name, str(self.pid))
            GuestProcess(self._host, kill, None).wait(ANSWER)
            with suppress(DeadlineExpired):
                self.wait(GRACE)

    def _look(self) -> None:
        if self._result is not None:
            return
        try:
            status = self._agent.ask("guest-exec-status", ANSWER, pid=self.pid)
        except (GuestGone, GuestSilent) as error:
            raise type(error)(f"{error.message} (of {' '.join(self.argv)})") from error
        if status["exited"]:
            self._result = command_result(self._host.name, self.argv, status)


def command_result(host: str, argv: tuple[str, ...], status: dict[str, Any]) -> CommandResult:
    """The result in a final answer of guest-exec-status; a signal counts as its negative.

    Raises LabError if the agent has cut the output short (at 16 MiB a stream).
    """
    for stream in ("out", "err"):
        if status.get(f"{stream}-truncated"):
            raise LabError(f"{host}: {' '.join(argv)}: its {stream}put was too long for the agent")
    returncode = -int(status["signal"]) if "signal" in status else int(status.get("exitcode", 0))
    out, err = (base64.b64decode(status.get(key, "")) for key in ("out-data", "err-data"))
    if returncode in (126, 127) and err.startswith(b"setsid: "):
        message = err.decode(errors="replace").strip().removeprefix("setsid: ")
        raise NotStarted(f"{host}: cannot start {argv[0]}: {message}")
    return CommandResult(host, argv, returncode, out, err)


class GuestHost:
    """The Host protocol over a guest's agent."""

    def __init__(self, agent: AgentConnection) -> None:
        self.name = agent.guest
        self.agent = agent

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        process = GuestProcess(self, tuple(argv), stdin)
        try:
            result = process.wait(timeout)
        except DeadlineExpired:
            self._abandon(process)
            raise
        return result.checked() if check else result

    @contextmanager
    def spawn(self, argv: Sequence[str]) -> Iterator[GuestProcess]:
        process = GuestProcess(self, tuple(argv), None)
        try:
            yield process
        finally:
            self._abandon(process)

    def read(self, path: str) -> bytes:
        with self._file(path, "r") as handle:
            parts = []
            while True:
                got = self.agent.ask("guest-file-read", ANSWER, handle=handle, count=PIECE)
                parts.append(base64.b64decode(got["buf-b64"]))
                if got["eof"]:
                    return b"".join(parts)

    def write(self, path: str, data: bytes) -> None:
        try:
            with self._file(path, "w") as handle:
                for start in range(0, len(data), PIECE):
                    piece = base64.b64encode(data[start : start + PIECE]).decode()
                    ask = {"handle": handle, "buf-b64": piece}
                    self.agent.ask("guest-file-write", ANSWER, **ask)
                self.agent.ask("guest-file-flush", ANSWER, handle=handle)
        except (AgentError, FileNotFoundError) as error:
            raise Refused(f"{self.name}: cannot write {path}: {error}") from error

    def exists(self, path: str) -> bool:
        result = self.run(("sh", "-c", EXISTS, "sh", path), check=False)
        return result.returncode == 0 or (result.returncode != 1 and bool(result.checked()))

    def glob(self, pattern: str) -> tuple[str, ...]:
        found = os.fsdecode(self.run(glob_argv(pattern)).stdout).split("\0")
        return tuple(sorted(path for path in found if path))

    def forward(self, path: str) -> NoReturn:
        raise MissingCapability(
            "sockets of a guest", f"{path} cannot be reached through the agent of {self.name}"
        )

    def _abandon(self, process: GuestProcess) -> None:
        """End `process`; a guest that is gone or hangs has ended it for us."""
        with suppress(LabError):
            process.terminate()

    @contextmanager
    def _file(self, path: str, mode: str) -> Iterator[int]:
        try:
            handle = int(self.agent.ask("guest-file-open", ANSWER, path=path, mode=mode))
        except AgentError as error:
            if "No such file" in error.description:
                raise FileNotFoundError(f"{self.name}: {path}") from error
            raise
        try:
            yield handle
        finally:
            with suppress(LabError):
                self.agent.ask("guest-file-close", ANSWER, handle=handle)
