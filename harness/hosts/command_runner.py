"""Commands on a host by one program there that waits for them (command_runner_agent), instead of
one login shell for each: in an emulated host that takes a third of the time, and of sshd's sessions
one (docs/adr/0015).
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from harness.core.errors import DeadlineExpired
from harness.hosts.command_runner_agent import HELLO
from harness.hosts.local import end_group
from harness.hosts.program import PYTHON, program

RUNNER = (*PYTHON, "-X", "utf8", *program(__package__, "command_runner")[len(PYTHON) :])
"""argv of the program, whatever the locale of the login."""

LARGEST = 1 << 20
"""Bytes of a command's input: while it takes more it would keep others waiting."""


@dataclass(frozen=True)
class Answer:
    """What became of a command: its status and output, or why it was not started."""

    status: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    why: str = ""


class CommandRunnerEnded(Exception):
    """It ended before it answered: what became of the command is not known."""


@dataclass
class _Waiting:
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class CommandRunner:
    """The program on the host, as the child that leads to it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._ids = itertools.count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._ready = threading.Event()
        self._ended = False
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True, name="command runner")
        self._reader.start()

    def starts(self, seconds: float) -> bool:
        """Wait until it takes commands; False if it ends, or does not within so many seconds."""
        self._ready.wait(seconds)
        return self._ready.is_set() and not self._ended

    @property
    def ended(self) -> bool:
        return self._ended

    def run(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes | None, timeout: float
    ) -> Answer:
        """Run a command to its end. DeadlineExpired after `timeout` seconds, in which case it goes
        on; CommandRunnerEnded."""
        key, data, waiting = str(next(self._ids)), stdin or b"", _Waiting()
        self._waiting[key] = waiting
        try:
            self._ask({"id": key, "argv": [*argv], "env": {**env}, "stdin": len(data)}, data)
            if self._ended:  # perhaps before it was among those that are told
                waiting.answered.set()
            if not waiting.answered.wait(timeout):
                raise DeadlineExpired(f"no answer within {timeout:g} s")
        finally:
            self._waiting.pop(key, None)
        if waiting.answer is None:
            raise CommandRunnerEnded
        return waiting.answer

    def close(self) -> None:
        """End it; commands under way are left alone."""
        with suppress(OSError):
            _pipe(self._child.stdin).close()
        end_group(self._child)
        self._reader.join()

    def _ask(self, head: Mapping[str, object], data: bytes) -> None:
        pipe = _pipe(self._child.stdin)
        with self._writing, suppress(OSError, ValueError):  # it has ended, as is told
            pipe.write(json.dumps(head).encode() + b"\n" + data)
            pipe.flush()

    def _read(self) -> None:
        stream = _pipe(self._child.stdout)
        try:
            while (line := stream.readline()) and line.strip() != HELLO.encode():
                pass  # what the login's shell says of itself
            if line:
                self._ready.set()
            while line := stream.readline():
                self._take(json.loads(line), stream)
        except ValueError:  # cut off amid a line
            pass
        finally:
            self._ended = True
            self._ready.set()
            stream.close()
            for waiting in list(self._waiting.values()):
                waiting.answered.set()

    def _take(self, head: dict[str, Any], stream: IO[bytes]) -> None:
        """An answer; of who no longer waits for it nothing is kept."""
        out, err = (stream.read(head.get(name, 0)) for name in ("stdout", "stderr"))
        if len(out) + len(err) < head.get("stdout", 0) + head.get("stderr", 0):
            raise ValueError("cut off")
        if waiting := self._waiting.get(head["id"]):
            waiting.answer = Answer(head.get("status", 0), out, err, head.get("why", ""))
            waiting.answered.set()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
