"""The one protocol through which the harness touches a machine.

Four kinds of machine speak it: this one (local), one behind OpenSSH (ssh: a lab server or the
nested lab's L1), a guest through its QEMU agent, and a fake for tests of pure logic. Code above
cannot tell which it has.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.core.errors import CommandFailed, Killed, NotStarted
from harness.core.plain import plain

_NOT_FOUND = re.compile(
    r"^(?:\S*sh: (?:line )?(?:\d+: )?(?P<word>\S+): (?:command )?not found"
    r'|exec of "(?P<program>.+)" failed: .*)$',
    re.MULTILINE,
)
"""How a shell (dash, busybox, bash) and `ip netns exec` say that there is no such program."""

SBIN = "/usr/sbin:/sbin"
"""Where the tools are of those who administer a machine: last in the PATH of all commands, since
an ordinary login does not look there."""

KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Statuses of a command that died of SIGKILL, as a parent and as a shell tells it."""


@dataclass(frozen=True)
class CommandResult:
    """What a finished command left behind. Streams are bytes; `text` and `error` decode them, and
    are plain."""

    host: str
    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return plain(self.stdout.decode(errors="replace"))

    @property
    def error(self) -> str:
        return plain(self.stderr.decode(errors="replace"))

    def checked(self) -> CommandResult:
        """This result, or CommandFailed if the exit status is not 0; raises as `ended` does."""
        if self.ended().returncode != 0:
            raise CommandFailed(self.host, self.argv, self.returncode, self.text, self.error)
        return self

    def ended(self) -> CommandResult:
        """This result, whatever the exit status, if the command came to an end of its own.

        Killed if it was ended by SIGKILL, NotStarted if a program within it, of a script or of `ip
        netns exec`, is not there: neither says anything of what the command was to do.
        """
        if self.returncode in KILLED:
            raise Killed(self.host, self.argv, self.returncode, self.text, self.error)
        if self.returncode != 0 and (unmet := _NOT_FOUND.search(self.error)):
            raise NotStarted(f"{self.host}: cannot start {unmet['word'] or unmet['program']}")
        return self


class Process(Protocol):
    """A running command. Leaving its context ends it: SIGTERM, then SIGKILL."""

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""

    def wait(self, timeout: float) -> CommandResult:
        """The result, with whatever output was captured; DeadlineExpired after `timeout` s."""

    def output(self) -> bytes:
        """What it has written to its standard output so far; of a command in a guest nothing is
        known before its end."""

    def terminate(self) -> None: ...


class Host(Protocol):
    """A machine that can run commands and hold files."""

    @property
    def name(self) -> str: ...

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        """Run `argv` (never a shell string) to its end.

        Raises CommandFailed if `check` and the status is not 0, NotStarted if there is no such
        program, DeadlineExpired after `timeout` seconds by the controller's clock (and some for the
        way; the command is killed, on a remote host too) and HostUnreachable when the connection is
        gone.
        """

    def spawn(self, argv: Sequence[str]) -> AbstractContextManager[Process]:
        """Start `argv` and leave it running until the context ends."""

    def read(self, path: str) -> bytes:
        """Content of a file; FileNotFoundError if there is none, LabError if it cannot be read.
        Works for sysfs and procfs."""

    def write(self, path: str, data: bytes) -> None:
        """Replace a file's content (sysfs and tracefs attributes too); Refused says why not."""

    def exists(self, path: str) -> bool: ...

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, sorted; empty if none."""

    def forward(self, path: str) -> AbstractContextManager[str]:
        """A path on the controller that reaches the host's unix socket at `path`."""
