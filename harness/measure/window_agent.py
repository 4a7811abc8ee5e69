"""One window on one host: read counters, switch accounting on, run a command, and back.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else.
`harness.measure.window` sends its text to `python3 -I -S -`, followed by a call of `main` with
the specification as JSON:

    read       paths or globs, read at both edges of the window
    start      [path, text] pairs, written at the opening
    stop       [path, text] pairs, written at the closing, whatever happens
    after      paths, read once after `stop`
    argv       the command
    stdin      text for the command, or null
    handshake  the command says "ready\\n" and waits for a line before it starts
    timeout    seconds the command may take, start-up included

The answer is one JSON object on stdout; `Answer` lists its keys.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 1.0  # seconds between SIGTERM and SIGKILL for the command
READY = b"ready\n"
GO = b"go\n"


class Stopped(Exception):
    """A signal asked this program to end."""


class Answer:
    """What is reported; every key is always there."""

    def __init__(self) -> None:
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}
        self.late: dict[str, str] = {}  # the texts of the paths in `after`
        self.vanished: list[str] = []  # were readable at the opening or named outright, are not now
        self.errors: list[str] = []  # writes that failed, a command that could not start
        self.opened = False  # the command was told to go
        self.window_ns = 0
        self.started_ns = 0  # of the opening, since 1970-01-01 UTC
        self.rc: int | None = None
        self.stdout = ""
        self.stderr = ""
        self.timed_out = False


def raise_stopped(signum: int, _frame: object) -> None:
    raise Stopped(signal.Signals(signum).name)


def read_all(patterns: list[str], vanished: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for pattern in patterns:
        is_glob = glob.has_magic(pattern)
        for path in sorted(glob.glob(pattern)) if is_glob else [pattern]:
            try:
                with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs 50 ms under TCG
                    texts[path] = file.read().decode(errors="replace")
            except OSError:  # between listing and reading, or a thread that is ending
                vanished.append(path)
    return texts


def write(path: str, text: str) -> None:
    # Never O_TRUNC: truncating a tracefs trigger file removes every trigger in it.
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def write_each(pairs: list[list[str]], errors: list[str]) -> bool:
    """All the writes, whether or not one fails."""
    failed = len(errors)
    for path, text in pairs:
        try:
            write(path, text)
        except OSError as error:
            errors.append(f"cannot write {text!r} to {path}: {error.strerror}")
    return len(errors) == failed


def await_ready(child: subprocess.Popen[bytes], end: float) -> bytes:
    """What the command said up to and including READY, or up to its end.

    Raises subprocess.TimeoutExpired when `end` (monotonic seconds) has come.
    """
    assert child.stdout is not None
    said = b""
    while not said.endswith(READY):
        left = end - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise subprocess.TimeoutExpired(child.args, 0, output=said)
        byte = os.read(child.stdout.fileno(), 1)
        if not byte:
            break
        said += byte
    return said


def kill(child: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End the command and its children; what it said on the way."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signum)
        try:
            return child.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            continue
        except ValueError:  # its pipes were closed already
            break
    return b"", b""


class Window:
    def __init__(self, spec: dict) -> None:  # type: ignore[type-arg]
        self.spec = spec
        self.answer = Answer()
        self.t0 = 0
        self.is_started = False  # `start` was tried, so `stop` is owed

    def open(self) -> bool:
        answer, spec = self.answer, self.spec
        answer.before = read_all(spec["read"], answer.vanished)
        self.is_started = True
        if not write_each(spec["start"], answer.errors):
            return False
        answer.started_ns = time.time_ns()
        answer.opened = True
        self.t0 = time.monotonic_ns()
        return True

    def close(self) -> None:
        answer, spec = self.answer, self.spec
        if answer.opened and not answer.window_ns:
            answer.window_ns = time.monotonic_ns() - self.t0
        if self.is_started:
            write_each(spec["stop"], answer.errors)
            answer.after = read_all(spec["read"], [])
            answer.vanished += [path for path in answer.before if path not in answer.after]
            answer.late = read_all(spec["after"], answer.vanished)

    def run(self) -> None:
        spec = self.spec
        if not spec["handshake"] and not self.open():
            return
        end = time.monotonic() + spec["timeout"]
        try:
            child = subprocess.Popen(
                spec["argv"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self.answer.errors.append(f"cannot start {spec['argv'][0]}: {error.strerror}")
            return
        out = err = b""
        try:
            out, err = self.converse(child, end)
        except subprocess.TimeoutExpired:
            self.answer.timed_out = True
            out, err = kill(child)
        except BaseException:
            kill(child)
            raise
        finally:
            self.answer.rc = child.poll()
            self.answer.stdout = out.decode(errors="replace")
            self.answer.stderr = err.decode(errors="replace")

    def converse(self, child: subprocess.Popen[bytes], end: float) -> tuple[bytes, bytes]:
        """Give the command its input and take its output, to its end."""
        given = (self.spec["stdin"] or "").encode()
        said = b""
        if self.spec["handshake"]:
            said = await_ready(child, end)
            if said.endswith(READY) and not self.open():
                kill(child)
                return said, b""
            said = said[: -len(READY)] if self.answer.opened else said
            given = GO + given
        out, err = child.communicate(given, timeout=max(0.0, end - time.monotonic()))
        if self.answer.opened:
            self.answer.window_ns = time.monotonic_ns() - self.t0
        return said + out, err


def main(text: str) -> None:
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, raise_stopped)
    window = Window(json.loads(text))
    try:
        window.run()
    except Stopped as reason:
        window.answer.errors.append(f"stopped by {reason}")
    finally:
        for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)  # from here on it ends by itself, and soon
        window.close()
    json.dump(vars(window.answer), sys.stdout)
    sys.stdout.flush()
