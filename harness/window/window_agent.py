"""One window on one host: read counters, run a command or wait, read them again.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else.
`harness.window.window` sends its text to `python3 -I -S -`, followed by a call of `main` with
the specification, a dict:

    read       paths, read at both edges of the window, in this order at the opening and backwards
               at the closing; one component of each may be "*"
    argv       the command; if there is none, the window opens at once, which "open\\n" on stdout
               says, and closes with a signal
    stdin      text for the command, or None
    handshake  the command says "ready\\n" and waits for a line before it starts
    watch      paths, read again and again while the window is open
    every      seconds between two such readings; 0: none
    tell       a unix socket with somebody behind it who reads counters elsewhere: told by an empty
               line at the start, before anything is read at the opening, and after everything at
               the closing; each time it is waited for until one comes back. "": nobody

A signal ends the command and the window, of which all that is known is told. There is no limit
here: this host's clock may be a virtual one, so how long to wait is for whoever asked to know.

The answer is one Python literal, the last line on stdout, a dict; `Answer` lists its keys.

A run has hundreds of windows, and in a nested lab each import costs as much as ten of them do on
silicon. Hence no subprocess, json or glob here: two thirds of the start-up time were theirs.
"""

from __future__ import annotations

# What the module `signal` wraps, without the enums that cost 0.2 s.
import _signal  # type: ignore[import-not-found]
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _Socket
    from collections.abc import Callable

FOREVER = 3600.0  # seconds, longer than any window
NEVER = float("inf")
GRACE = 1.0  # seconds between SIGTERM and SIGKILL for the command
ANSWER = 20.0  # seconds for who is told of an edge; a guest that is emulated may take some
SETTLES = 0.005
"""Seconds for whoever was told of the opening to be idle again: a guest gives the buffer of its
port back after it has answered, which is an exit."""
SUDDEN = 0.05
"""Share of the time between two samples that reading one may take."""
READINGS = 5
OPEN = "open\n"
READY = b"ready\n"
GO = b"go\n"
ENDING = {_signal.SIGTERM: "SIGTERM", _signal.SIGHUP: "SIGHUP", _signal.SIGINT: "SIGINT"}


class Stopped(Exception):
    """A signal asked this program to end."""


class Deaf(Exception):
    """Who is told of the edges does not hear."""


class Answer:
    """What is reported; every key is always there."""

    def __init__(self) -> None:
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}
        self.before_ns: dict[str, int] = {}  # when each was read, by the monotonic clock
        self.after_ns: dict[str, int] = {}
        self.vanished: list[str] = []  # were readable at the opening or named outright, are not now
        self.errors: list[str] = []  # a command that could not start, a signal
        self.opened = False  # the command was told to go
        self.samples: list[
            tuple[int, dict[str, str]]
        ] = []  # ns since the opening, texts of `watch`
        self.opened_ns = 0  # by the monotonic clock
        self.window_ns = 0
        self.started_ns = 0  # of the opening, since 1970-01-01 UTC
        self.announced: list[
            tuple[int, int]
        ] = []  # when `tell` was told of each edge, and answered
        self.rc: int | None = None
        self.stdout = ""
        self.stderr = ""
        self.stopped = ""  # by which signal


def ignore_signals() -> None:
    """From here on this program ends by itself, and soon."""
    for signum in ENDING:
        _signal.signal(signum, _signal.SIG_IGN)


def raise_stopped(signum: int, _frame: object) -> None:
    ignore_signals()
    raise Stopped(ENDING[signum])


def expand(pattern: str) -> list[str]:
    """The paths that a pattern stands for; "*" is one whole component."""
    folder, star, rest = pattern.partition("*")
    if not star:
        return [pattern]
    try:
        paths = [f"{folder}{name}{rest}" for name in sorted(os.listdir(folder))]
    except OSError:
        return []
    return [path for path in paths if os.path.exists(path)]


def read_all(patterns: list[str], vanished: list[str], read_ns: dict[str, int]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for pattern in patterns:
        for path in expand(pattern):
            try:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                    texts[path] = file.read().decode(errors="replace")
                    read_ns[path] = time.monotonic_ns()
            except OSError:  # never there, or ended between listing and reading
                vanished.append(path)
    return texts


class Child:
    """The command, in a session of its own, with a pipe on each of its streams.

    While it is waited for, `tick` is called whenever the seconds have passed that it returned.
    """

    def __init__(self, argv: list[str], tick: Callable[[], float]) -> None:
        self.tick = tick
        self.rc: int | None = None
        self.out, self.err = bytearray(), bytearray()
        self.pending = b""
        theirs, mine = [], []
        for is_input in (True, False, False):
            reader, writer = os.pipe()
            theirs.append(reader if is_input else writer)
            mine.append(writer if is_input else reader)
        self.stdin: int | None = mine[0]
        self.streams = {mine[1]: self.out, mine[2]: self.err}
        try:
            self.pid = os.posix_spawnp(
                argv[0],
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(theirs)],
                setsid=True,
                setsigdef=[_signal.SIGPIPE],
                setsigmask=[],
            )
        finally:
            for fd in theirs:
                os.close(fd)
        os.set_blocking(mine[0], False)

    def give(self, data: bytes) -> None:
        """Input, all there is; it is sent while the command runs."""
        self.pending = data

    def pump(self, end: float = NEVER, enough: bytes | None = None) -> bool:
        """Move data until the command has closed its outputs, or said `enough` at the end of
        what it said. False if `end` (monotonic seconds) comes first."""
        poller = select.poll()
        for fd in self.streams:
            poller.register(fd, select.POLLIN)
        if enough is None and self.stdin is not None:
            poller.register(self.stdin, select.POLLOUT)
        while self.streams and not (enough is not None and self.out.endswith(enough)):
            left = end - time.monotonic()
            if left <= 0:
                return False
            for fd, _ in poller.poll(min(left, self.tick()) * 1000):
                if not (self.send() if fd == self.stdin else self.receive(fd)):
                    poller.unregister(fd)
        return True

    def receive(self, fd: int) -> bool:
        data = os.read(fd, 65536)
        self.streams[fd] += data
        if not data:
            del self.streams[fd]
            os.close(fd)
        return bool(data)

    def send(self) -> bool:
        assert self.stdin is not None
        try:
            self.pending = self.pending[os.write(self.stdin, self.pending) :]
        except BrokenPipeError:
            self.pending = b""
        if not self.pending:
            os.close(self.stdin)
            self.stdin = None
        return bool(self.pending)

    def wait(self, end: float = NEVER) -> bool:
        """Until it has ended, at most until `end`; whether it has."""
        while self.rc is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.rc = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                return False
            else:
                time.sleep(0.001)
        return True

    def kill(self) -> None:
        """End the command and its children, keeping what they say on the way."""
        for signum in (_signal.SIGTERM, _signal.SIGKILL):
            try:  # noqa: SIM105 - contextlib is one more import
                os.killpg(self.pid, signum)
            except ProcessLookupError:
                pass
            end = time.monotonic() + GRACE
            if self.pump(end) and self.wait(end):
                return


class Window:
    def __init__(self, spec: dict) -> None:  # type: ignore[type-arg]
        self.spec = spec
        self.answer = Answer()
        self.next_sample = 0.0
        self.listener: _Socket | None = None

    def connect(self) -> None:
        """Reach who is to be told of the edges, and see that they answer."""
        if not self.spec["tell"]:
            return
        import _socket  # what `socket` wraps, which costs as much as the rest of the start-up

        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        listener.settimeout(ANSWER)
        try:
            listener.connect(self.spec["tell"])
        except OSError as error:
            raise Deaf(error) from None
        self.listener = listener
        self.tell()
        self.answer.announced.clear()

    def tell(self) -> None:
        """Have those read who read elsewhere, and wait until they say that they have."""
        if self.listener is None:
            return
        asked = time.monotonic_ns()
        try:
            self.listener.sendall(b"\n")
            if not self.listener.recv(16):
                raise Deaf("its end is closed")
        except OSError as error:
            raise Deaf(error) from None
        self.answer.announced.append((asked, time.monotonic_ns()))

    def open(self) -> None:
        answer = self.answer
        self.tell()
        if self.listener is not None:
            time.sleep(SETTLES)
        answer.before = read_all(self.spec["read"], answer.vanished, answer.before_ns)
        answer.opened = True
        answer.started_ns = time.time_ns()
        answer.opened_ns = time.monotonic_ns()

    def sample(self) -> float:
        """Read what is watched, if it is time; the seconds until it is time again."""
        every = self.spec["every"]
        if not self.answer.opened or not every:
            return FOREVER
        now = time.monotonic()
        if now >= self.next_sample:
            self.answer.samples.append(self.reading(every * SUDDEN))
            self.next_sample = now + every
        return float(self.next_sample - now)

    def reading(self, sudden: float) -> tuple[int, dict[str, str]]:
        """When what is watched was read, in ns since the opening, and the texts. If that took
        longer than `sudden` seconds, somebody else had this CPU, and they may be of any moment of
        it: they are read again, a few times at most."""
        for _ in range(READINGS):
            before = time.monotonic_ns()
            texts = read_all(self.spec["watch"], [], {})
            after = time.monotonic_ns()
            if after - before <= sudden * 1e9:
                break
        return (before + after) // 2 - self.answer.opened_ns, texts

    def close(self) -> None:
        answer = self.answer
        if not answer.opened:
            return
        if not answer.window_ns:
            answer.window_ns = time.monotonic_ns() - self.answer.opened_ns
        answer.after = read_all(self.spec["read"][::-1], [], answer.after_ns)
        answer.vanished += [path for path in answer.before if path not in answer.after]
        try:  # noqa: SIM105 - contextlib is one more import
            self.tell()
        except Deaf:  # it died in the window, of which the rest is told
            pass

    def hold(self) -> None:
        """Open the window and keep it open until a signal comes."""
        # Blocked, it need not be handled: it is taken when it is wanted.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)
        self.open()
        print(OPEN, end="", flush=True)
        self.answer.stopped = ENDING[_signal.sigwait(ENDING)]
        self.answer.window_ns = time.monotonic_ns() - self.answer.opened_ns

    def run(self) -> None:
        spec = self.spec
        if not spec["handshake"]:
            self.open()
        # No signal may come between the command's start and the `try` that ends it.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)
        try:
            child = Child(spec["argv"], self.sample)
        except OSError as error:
            self.answer.errors.append(f"cannot start {spec['argv'][0]}: {error.strerror}")
            return
        try:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, ENDING)
            self.converse(child)
        finally:
            if child.rc is None:
                child.kill()
            self.answer.rc = child.rc
            self.answer.stdout = child.out.decode(errors="replace")
            self.answer.stderr = child.err.decode(errors="replace")

    def converse(self, child: Child) -> None:
        """Give the command its input and take its output, to its end."""
        given = (self.spec["stdin"] or "").encode()
        if self.spec["handshake"]:
            if child.pump(enough=READY) and child.out.endswith(READY):
                del child.out[-len(READY) :]
                self.open()
            given = GO + given
        child.give(given)
        child.pump()
        child.wait()
        if self.answer.opened:
            self.answer.window_ns = time.monotonic_ns() - self.answer.opened_ns


def main(spec: dict) -> None:  # type: ignore[type-arg]
    for signum in ENDING:
        _signal.signal(signum, raise_stopped)
    window = Window(spec)
    try:
        try:
            window.connect()
            if spec["argv"]:
                window.run()
            else:
                window.hold()
        finally:
            ignore_signals()
    except Stopped as reason:
        window.answer.stopped = str(reason)
    except Deaf as why:
        window.answer.errors.append(f"{spec['tell']} was told to read, and did not: {why}")
    finally:
        window.close()
    print(ascii(vars(window.answer)), flush=True)
