"""The signals that tell a program to end: it puts back what it changed, whichever of them it was.

Ctrl-C is SIGINT, a CI job that is cancelled SIGTERM, an ssh session that is dropped SIGHUP. The
first one unwinds, as KeyboardInterrupt; what follows would cut the putting back short, so it
changes nothing. Whoever started us with one of them ignored, as nohup(1) does, does not mean it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ANSWER = "putting back what was changed; a second Ctrl-C changes nothing"
"""Said at once: what follows may take a while."""

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def unwind_when_told(answer: str = "", elsewhere: Callable[[], Path | None] = lambda: None) -> None:
    """From here on the first of ENDING says `answer` and raises KeyboardInterrupt.

    After SIGHUP nobody reads any more: what is said goes to the file that `elsewhere` names, to
    none if it names none.
    """
    handler = _Told(answer, elsewhere)
    for signum in heeded():
        signal.signal(signum, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # see run_and_wait in harness.runs.suite


def is_told() -> bool:
    """Whether `unwind_when_told` was called."""
    return _handler() is not None


def heeded() -> tuple[signal.Signals, ...]:
    """Those of ENDING that this process was not started to ignore."""
    return tuple(each for each in ENDING if signal.getsignal(each) is not signal.SIG_IGN)


@contextmanager
def deferred() -> Iterator[None]:
    """What must not be done by half: a signal that comes meanwhile is answered, and unwinds when
    the context ends."""
    handler = _handler()
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    handler.deferring += 1
    try:
        yield
    finally:
        handler.deferring -= 1
        handler.heed()


def end_with_parent() -> None:
    """Have SIGHUP sent to us when the process that started us has ended, however that was."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGHUP)


class _Told:
    """The handler, and whether it has been called."""

    def __init__(self, answer: str, elsewhere: Callable[[], Path | None]) -> None:
        self._answer, self._elsewhere = answer, elsewhere
        self._said_to = {_open_file(number) for number in (1, 2)} - {None, _NOWHERE}
        self._first: signal.Signals | None = None
        self._heeded = False
        self.deferring = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if signum == signal.SIGHUP:
            self._write_to(self._elsewhere() or Path(os.devnull))
        if self._first is None:
            self._first = signal.Signals(signum)
            if self._answer:
                with suppress(OSError):  # not by print: it may be that which was interrupted
                    os.write(2, f"\nnicproof: {self._answer}\n".encode())
        self.heed()

    def heed(self) -> None:
        """Unwind, once, if that was asked for and is not deferred."""
        if self._first is not None and not self._heeded and not self.deferring:
            self._heeded = True
            raise KeyboardInterrupt(self._first.name)

    def _write_to(self, path: Path) -> None:
        """Let all go there that went to standard output or errors, be it by a descriptor that
        somebody keeps, as pytest does: a terminal that is gone fails each who writes."""
        try:
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError:  # a disk that is full
            opened = os.open(os.devnull, os.O_WRONLY)
        for number in map(int, os.listdir("/proc/self/fd")):
            if number and _open_file(number) in self._said_to:
                os.dup2(opened, number, inheritable=os.get_inheritable(number))
        os.close(opened)


def _handler() -> _Told | None:
    handlers = map(signal.getsignal, ENDING)
    return next((each for each in handlers if isinstance(each, _Told)), None)


def _open_file(number: int) -> tuple[int, int] | None:
    """What a descriptor leads to, None if it is closed."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_NOWHERE = (os.stat(os.devnull).st_dev, os.stat(os.devnull).st_ino)
