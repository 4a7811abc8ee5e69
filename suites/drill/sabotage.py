"""Breaking the rig on purpose: a guest, or a command on the host, is killed at a drawn moment.

The journal keeps the host as it is: what undoes a change is never the victim.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any, Literal

from harness.guest.boot import Guest
from harness.hosts.base import CommandResult, Host, Process
from harness.qualify.rig.rig import Rig

Victim = Literal["guest", "command"]

GUEST_LIFE = 3.0
"""Seconds from the first guest's boot to its end, at most: cases use it in this while.
Each guest that gets away shortens the next one's life."""

COMMANDS = (1, 12)
"""How many commands of cases come through before one is killed."""

COMMAND_LIFE = 0.2
"""Seconds of the host's clock that this one is given at most; mostly far less, since most commands
live but a few milliseconds."""

KILLED = 137
"""Status of a command that died of SIGKILL: 128 + 9."""

SHORT_LIVED = """
lives=$1
shift
exec 3<&0
setsid "$@" <&3 3<&- & child=$!
sleep "$lives"
{ kill -KILL -$child || kill -KILL $child; } 2>/dev/null
wait $child
"""
"""Run a command in a session of its own and kill all of that after $1 seconds, which may be before
it has begun."""


@dataclass
class Saboteur:
    """Kills once. `struck` says what it was, "" until then."""

    victim: Victim
    random: Random
    armed: bool = False  # in the middle of a case
    struck: str = ""
    guests: int = 0  # that were in danger
    commands_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.commands_left = self.random.randint(*COMMANDS)

    @contextmanager
    def threatens(self, guest: Guest) -> Iterator[None]:
        """Maybe the guest does not live as long as the context."""
        self.guests += 1
        lives = self.random.uniform(0.0, GUEST_LIFE / self.guests)
        timer = threading.Timer(lives, self._kill, (guest, lives))
        if self.victim == "guest" and not self.struck:
            timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if timer.ident is not None:
                timer.join()

    def _kill(self, guest: Guest, lives: float) -> None:
        kill = guest.process.host.run(("kill", "-KILL", str(guest.qemu_pid)), check=False)
        if kill.returncode == 0:  # else it has ended by itself
            self.struck = f"guest {guest.name}, {lives:.2f} s after its boot"

    def lives(self) -> float | None:
        """Seconds that the next command is given; None if it may live on."""
        if self.victim != "command" or not self.armed or self.struck:
            return None
        self.commands_left -= 1
        return None if self.commands_left > 0 else COMMAND_LIFE * self.random.random() ** 3

    def killed(self, argv: Sequence[str], lives: float) -> None:
        """A command was killed."""
        message = " ".join(" ".join(argv).split())[:100]
        self.struck = f"“{message}”, {lives:.2f} s after its start"


@dataclass(frozen=True)
class EndangeredHost:
    """A Host some command of which may be killed."""

    host: Host
    saboteur: Saboteur

    @property
    def name(self) -> str:
        return self.host.name

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        lives = self.saboteur.lives()
        if lives is None:
            return self.host.run(argv, timeout=timeout, stdin=stdin, check=check)
        doomed = _short_lived(argv, lives)
        result = self.host.run(doomed, timeout=timeout, stdin=stdin, check=False)
        if result.returncode == KILLED:
            self.saboteur.killed(argv, lives)
        result = replace(result, argv=tuple(argv))
        return result.checked() if check else result

    def spawn(self, argv: Sequence[str]) -> AbstractContextManager[Process]:
        lives = self.saboteur.lives()
        if lives is None:
            return self.host.spawn(argv)
        self.saboteur.killed(argv, lives)
        return self.host.spawn(_short_lived(argv, lives))

    def read(self, path: str) -> bytes:
        return self.host.read(path)

    def write(self, path: str, data: bytes) -> None:
        self.host.write(path, data)

    def exists(self, path: str) -> bool:
        return self.host.exists(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        return self.host.glob(pattern)

    def forward(self, path: str) -> AbstractContextManager[str]:
        return self.host.forward(path)


@dataclass(frozen=True)
class EndangeredRig(Rig):
    """A rig whose guests and commands are in danger."""

    saboteur: Saboteur

    @contextmanager
    def booted(self, *args: Any, **options: Any) -> Iterator[Guest]:
        with super().booted(*args, **options) as guest, self.saboteur.threatens(guest):
            yield guest


def endangered(rig: Rig, saboteur: Saboteur) -> EndangeredRig:
    """The same rig, but for the danger that it is in."""
    host = EndangeredHost(rig.host, saboteur)
    same = {each.name: getattr(rig, each.name) for each in fields(rig)}
    same |= {"host": host, "port": replace(rig.port, host=host)}
    return EndangeredRig(**same, saboteur=saboteur)


def _short_lived(argv: Sequence[str], lives: float) -> tuple[str, ...]:
    return ("sh", "-c", SHORT_LIVED, "sh", f"{lives:.3f}", *argv)
