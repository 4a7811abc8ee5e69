"""Run the commands that come in, several at once, and tell what became of each.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> NAME=VALUE...`. It says HELLO, then takes requests from its input, and
ends when that ends: commands that are under way go on. A request is a line of JSON and as many
bytes as that says; an answer is the same:

    {"id": "1", "argv": ["cat"], "env": {"A": "b"}, "stdin": 3}  and 3 bytes, the command's input
    {"id": "1", "status": 0, "stdout": 3, "stderr": 0}           and 3 bytes, what it wrote
    {"id": "1", "why": "No such file or directory"}              it could not be started

`status` is that of a shell: 128 and its number for a signal. Each command is in a session of its
own, has the NAME=VALUEs and its `env` in its environment, and has ended once it has and its output.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

HELLO = "nicproof runs commands"

CHUNK = 1 << 16


class Request:
    """One command, as it is asked for."""

    def __init__(self, key: str, argv: "list[str]", env: "dict[str, str]", data: bytes) -> None:
        self.key, self.argv, self.env, self.data = key, argv, env, data


class Command:
    """One that is under way; OSError or ValueError if it cannot be started."""

    def __init__(
        self, request: Request, env: "dict[str, str]", selector: selectors.BaseSelector
    ) -> None:
        self.key, self.data, self.selector = request.key, request.data, selector
        self.process = subprocess.Popen(
            request.argv,
            stdin=subprocess.PIPE if self.data else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env={**env, **request.env},
        )
        self.output = {"stdout": bytearray(), "stderr": bytearray()}
        self.open = len(self.output)
        for name, found in self.output.items():
            self.watch(selectors.EVENT_READ, name, partial(self.hear, found))
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)
            self.watch(selectors.EVENT_WRITE, "stdin", self.feed)

    def watch(self, event: int, name: str, act: "Callable[[int], bool]") -> None:
        """Let `act` have the file whenever something can be done, until it says that it is over."""
        file = getattr(self.process, name)

        def acted() -> None:
            if act(file.fileno()):
                self.selector.unregister(file)
                file.close()

        self.selector.register(file, event, acted)

    def hear(self, found: bytearray, file: int) -> bool:
        chunk = os.read(file, CHUNK)
        found += chunk
        self.open -= not chunk
        return not chunk

    def feed(self, file: int) -> bool:
        try:
            self.data = self.data[os.write(file, self.data[:CHUNK]) :]
        except BrokenPipeError:  # it wants no more
            return True
        return not self.data

    def has_ended(self) -> bool:
        return not self.open and self.process.poll() is not None

    def answer(self) -> None:
        code = self.process.returncode
        sizes = {name: len(found) for name, found in self.output.items()}
        status = code if code >= 0 else 128 - code
        answer({"id": self.key, "status": status, **sizes}, *self.output.values())


def answer(head: "dict[str, object]", *parts: bytearray) -> None:
    out = sys.stdout.buffer
    out.write(json.dumps(head).encode() + b"\n")
    for part in parts:
        out.write(part)
    out.flush()


class Requests:
    """What has come of them."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def take(self) -> "Request | None":
        """The next that is whole."""
        line, newline, rest = self.buffer.partition(b"\n")
        if not newline:
            return None
        head = json.loads(line)
        size = head["stdin"]
        if len(rest) < size:
            return None
        self.buffer = rest[size:]
        return Request(head["id"], head["argv"], head["env"], bytes(rest[:size]))


def serve(env: "dict[str, str]") -> None:
    selector, requests = selectors.DefaultSelector(), Requests()
    commands: list[Command] = []
    waking, signalled = os.pipe()
    for end in (waking, signalled):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(signalled)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    def come() -> None:
        chunk = os.read(0, CHUNK)
        if not chunk:
            os._exit(0)
        requests.buffer += chunk
        while (request := requests.take()) is not None:
            try:
                commands.append(Command(request, env, selector))
            except (OSError, ValueError) as error:
                answer({"id": request.key, "why": getattr(error, "strerror", str(error))})

    def wake() -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(waking, CHUNK)

    selector.register(0, selectors.EVENT_READ, come)
    selector.register(waking, selectors.EVENT_READ, wake)
    while True:
        for key, _ in selector.select():
            key.data()
        for each in [each for each in commands if each.has_ended()]:
            commands.remove(each)
            each.answer()


if __name__ == "__main__":
    print(HELLO, flush=True)
    serve({**os.environ, **dict(word.split("=", 1) for word in sys.argv[1:])})
