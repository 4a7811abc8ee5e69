"""A machine behind OpenSSH: a lab server, or the nested lab's L1.

One master connection carries everything; each client of its control socket costs a few
milliseconds instead of a key exchange. The first commands of a connection are a client each; for
all others one client leads to a program that runs them (command_runner). What is under way when the
harness dies, and with it the connection (harness/hosts/connection.py), is an orphan (orphans.py).

Time limits are kept here, by our clock: the host's may be a virtual one, in which two minutes can
pass in two seconds. The host knows a command that passes its time by an id in its environment.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.core.errors import (
    DeadlineExpired,
    HostUnreachable,
    LabError,
    NotStarted,
    Refused,
)
from harness.hosts.base import CommandResult
from harness.hosts.command_runner import LARGEST, RUNNER, CommandRunner, CommandRunnerEnded
from harness.hosts.connection import LOG, Target, master_connection
from harness.hosts.guard import guarded
from harness.hosts.local import PipedProcess, end_group
from harness.hosts.orphans import marked, marking
from harness.hosts.orphans_agent import COMMAND
from harness.hosts.program import program
from harness.hosts.rundir import short_dir

KILL_AFTER = 2
"""Seconds, by the host's clock, between SIGTERM and SIGKILL for a command that passed its time."""

ENDING = 30.0
"""Seconds, by our clock, that a busy host may take to have ended such a command."""

ANSWER = 10.0
"""Seconds that the connection may need, beyond a command's own time, to start it and to report its
end."""

PLAIN = 3
"""Commands that a connection does one by one before it starts a command runner: among them are the
first words with a host, which tell what its login is like."""

RUNNER_STARTS = 30.0
"""Seconds that a command runner may take to start; without one, commands go on one by one."""

LOST = 255
"""ssh's exit status for its own failures, and sometimes the remote command's."""

FULL = "Session open refused by peer"
"""What a client of the master says if sshd allows no further command beside those under way."""

SESSIONS = 150
"""Commands at once over one connection that a host should allow (MaxSessions in sshd_config(5)).
OpenSSH's default of 10 is enough for a bench; a qualification that has traffic on all VFs takes two
more for each of them, and there are ports with 63."""

ALLOW_SESSIONS = (
    f"there: echo MaxSessions {SESSIONS} >/etc/ssh/sshd_config.d/nicproof.conf; "
    "systemctl reload ssh"
)

GLOB = r"""IFS=; for p in $1; do if [ -e "$p" ] || [ -L "$p" ]; then printf '%s\0' "$p"; fi; done"""
"""With IFS empty an unquoted expansion is matched against files but never split."""

EXISTS = '[ -e "$1" ] || [ -L "$1" ]'

OPEN_TO_LOGIN = """
chown "$SUDO_UID" "$1" || exit
directory=${1%/*}
while [ "${directory#/*/}" != "$directory" ]; do
    chmod go+x "$directory" || exit
    directory=${directory%/*}
done
"""
"""Let the account that logged in connect to the socket $1. It may pass through the directories on
the way, those at the top apart, of which it can do so anyhow, and see nothing in them."""


def remote_command(argv: Sequence[str], identity: str, become: str = "") -> str:
    """The line for the remote shell: `argv`, quoted, with `identity` in its environment."""
    return _line(("env", f"{COMMAND}={identity}", *argv), become)


def _line(argv: Sequence[str], become: str) -> str:
    """`argv` in place of the remote shell, whichever that is; so it is sshd's own child."""
    return f"exec {shlex.join(marked(argv, become))}"


def glob_argv(pattern: str) -> tuple[str, ...]:
    """argv that prints the paths matching `pattern`, each ended by a NUL byte.

    A backslash is an ordinary character in Python's patterns and an escape in the shell's.
    """
    return ("sh", "-c", GLOB, "sh", pattern.replace("\\", r"\\"))


def write_argv(path: str) -> tuple[str, ...]:
    """argv that replaces the content of `path` by its input, up to 1 MiB in one write(2).

    sysfs and tracefs take each write for a whole value, so nothing may split it.
    """
    return ("dd", f"of={path}", "bs=1M", "iflag=fullblock", "status=none")


class SshProcess(PipedProcess):
    """A remote command; the local child is its ssh client."""

    def __init__(self, owner: SshHost, argv: tuple[str, ...]) -> None:
        super().__init__(owner.name, owner.client_argv(_line(guarded(argv), owner.become)))
        self._owner = owner
        self.argv = argv

    def wait(self, timeout: float) -> CommandResult:
        result = super().wait(timeout)
        self._owner.raise_if_lost(result)
        return result


class SshHost:
    """A machine behind a master connection. Made by `connect`."""

    def __init__(
        self,
        name: str,
        target: Target,
        directory: Path,
        diagnose: Callable[[], str],
        become: str = "",
    ) -> None:
        self.name = name
        self.target = target
        self.become = become
        self._directory = directory
        self._control = directory / "ctl"
        self._diagnose = diagnose
        self._sockets = itertools.count()
        self._runs = itertools.count()
        self._runner: CommandRunner | None = None
        self._without_runner = False
        self._starting = threading.Lock()

    def close(self) -> None:
        """End the command runner, if there is one; commands under way are left alone."""
        if self._runner is not None:
            self._runner.close()

    def client_argv(self, command: str) -> tuple[str, ...]:
        """argv of a local ssh that runs `command` in the remote shell over the master."""
        return (*self.target.client(self._control), command)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        argv, identity = tuple(argv), uuid.uuid4().hex
        runner = self._ready_runner() if len(stdin or b"") <= LARGEST else None
        try:
            if runner is None:
                result = self._alone(argv, identity, timeout, stdin)
            else:
                result = self._by(runner, argv, identity, timeout, stdin)
        except DeadlineExpired as late:
            try:
                self._end(identity)
            except DeadlineExpired as error:
                raise DeadlineExpired(f"{late.message}, and may run on: {error.message}") from late
            raise
        return result.checked() if check else result

    def _alone(
        self, argv: tuple[str, ...], identity: str, timeout: float, stdin: bytes | None
    ) -> CommandResult:
        """Of a login shell of its own."""
        line = remote_command(argv, identity, self.become)
        result = self._exchange(argv, self.client_argv(line), timeout, stdin)
        self.raise_if_lost(result)
        _raise_if_not_started(result)
        return result

    def _by(
        self,
        runner: CommandRunner,
        argv: tuple[str, ...],
        identity: str,
        timeout: float,
        stdin: bytes | None,
    ) -> CommandResult:
        try:
            answer = runner.run(argv, {COMMAND: identity}, stdin, timeout + ANSWER)
        except DeadlineExpired as error:
            raise self._late(argv, timeout) from error
        except CommandRunnerEnded as error:
            self.raise_if_lost(CommandResult(self.name, argv, LOST, b"", b""))
            raise LabError(
                f"{self.name}: what runs commands there was ended in: {' '.join(argv)}"
            ) from error
        if answer.why:
            raise _not_started(self.name, argv, answer.why)
        return CommandResult(self.name, argv, answer.status, answer.stdout, answer.stderr)

    def _ready_runner(self) -> CommandRunner | None:
        """None for the first commands, and where python3 does not run."""
        if next(self._runs) < PLAIN or self._without_runner:
            return None
        with self._starting:
            if self._runner is None or self._runner.ended:
                self.close()
                line = f"exec {shlex.join(marking(RUNNER, self.become))}"
                self._runner = CommandRunner(self.client_argv(line))
                if not self._runner.starts(RUNNER_STARTS):
                    self._without_runner = True
                    self.close()
            return None if self._without_runner else self._runner

    def _late(self, shown: tuple[str, ...], timeout: float) -> DeadlineExpired:
        return DeadlineExpired(f"{self.name}: {' '.join(shown)} did not end within {timeout:g} s")

    @contextmanager
    def spawn(self, argv: Sequence[str]) -> Iterator[SshProcess]:
        process = SshProcess(self, tuple(argv))
        try:
            yield process
        finally:
            process.close()

    def read(self, path: str) -> bytes:
        result = self.run(("cat", "--", path), check=False)
        # To ask afterwards whether it exists would be to ask about another moment.
        if result.returncode != 0 and result.error.rstrip().endswith(os.strerror(errno.ENOENT)):
            raise FileNotFoundError(f"{self.name}: {path}")
        return result.checked().stdout

    def write(self, path: str, data: bytes) -> None:
        result = self.run(write_argv(path), stdin=data, check=False).ended()
        if result.returncode != 0:
            output = result.error.strip().removeprefix("dd: ")
            raise Refused(f"{self.name}: cannot write {path}: {output}")

    def exists(self, path: str) -> bool:
        result = self.run(("sh", "-c", EXISTS, "sh", path), check=False)
        return result.returncode == 0 or (result.returncode != 1 and bool(result.checked()))

    def glob(self, pattern: str) -> tuple[str, ...]:
        found = self.run(glob_argv(pattern)).stdout.split(b"\0")
        return tuple(sorted(os.fsdecode(path) for path in found if path))

    @contextmanager
    def forward(self, path: str) -> Iterator[str]:
        if self.become:  # it is the login's sshd that connects, and the socket is root's
            self.run(("sh", "-c", OPEN_TO_LOGIN, "sh", path))
        local = self._directory / f"f{next(self._sockets)}"
        rule = ("-L", f"{local}:{path}")
        self._mux("forward", *rule)
        try:
            yield str(local)
        finally:
            with suppress(LabError):  # gone with the connection
                self._mux("cancel", *rule)
            local.unlink(missing_ok=True)

    def raise_if_lost(self, result: CommandResult) -> None:
        """HostUnreachable if status 255 came from ssh and not from the command.

        The two look alike, so ask for something whose status is known.
        """
        if result.returncode != LOST:
            return
        if FULL in result.error:
            raise HostUnreachable(
                f"{self.name}: sshd refuses another command beside those under way: "
                f"{' '.join(result.argv)}",
                remedy=ALLOW_SESSIONS,
            )
        with suppress(DeadlineExpired):
            probe = self._exchange(("true",), self.client_argv("true"), ANSWER)
            if probe.returncode == 0:
                return
        # The client's own words are about its attempt to do without a master: of no help.
        log = (self._directory / LOG).read_text(errors="replace")
        parts = (part.strip() for part in (self._diagnose(), log))
        message = "; ".join(part for part in parts if part) or "ssh did not say why"
        raise HostUnreachable(
            f"{self.name}: the connection was lost in: {' '.join(result.argv)}: {message}"
        )

    def _end(self, identity: str) -> None:
        """End a command that has passed its time. HostUnreachable if the connection is lost,
        DeadlineExpired if nobody says that it has ended."""
        ending = (*program(__package__, "orphans"), "command", identity, str(KILL_AFTER))
        shown = ("ending what has passed its time",)
        result = self._exchange(shown, self.client_argv(_line(ending, self.become)), ENDING)
        self.raise_if_lost(result)

    def _mux(self, request: str, *extra: str) -> None:
        argv = self.target.client(self._control, "-O", request, *extra)
        result = self._exchange((f"ssh -O {request}", *extra), argv, ANSWER)
        self.raise_if_lost(result)
        result.checked()

    def _exchange(
        self,
        shown: tuple[str, ...],
        argv: tuple[str, ...],
        timeout: float,
        stdin: bytes | None = None,
    ) -> CommandResult:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = child.communicate(stdin, timeout=timeout + ANSWER)
        except subprocess.TimeoutExpired as error:
            raise self._late(shown, timeout) from error
        finally:
            end_group(child)
        return CommandResult(self.name, shown, child.returncode, out, err)


def _raise_if_not_started(result: CommandResult) -> None:
    """As on the local host: a command that cannot be started is an error, whatever `check`."""
    output = result.error.strip().rpartition("\n")[
        2
    ]  # a login shell may have said something before
    if result.returncode in (126, 127) and output.startswith("env: "):
        raise _not_started(result.host, result.argv, output.removeprefix("env: "))


def _not_started(host: str, argv: tuple[str, ...], why: str) -> NotStarted:
    return NotStarted(f"{host}: cannot start {argv[0]}: {why}")


LOGIN_LIMIT = 45.0
"""Seconds of a login: a host whose CPUs are all at work may take 20 for its keys alone."""


@contextmanager
def connect(
    destination: str,
    *,
    name: str = "",
    options: tuple[str, ...] = (),
    timeout: float = LOGIN_LIMIT,
    diagnose: Callable[[], str] = str,
    become: str = "",
) -> Iterator[SshHost]:
    """Connect to `destination` (as ssh(1) takes it); the connection ends with the context.

    `options` go to every ssh call, before the user's own configuration. There is no terminal to
    ask on, so a key or an agent must do. `diagnose` is asked, once the connection is lost, for
    what the caller knows about it. All commands are done by root if there is a way to `become`
    that, "sudo". Raises HostUnreachable after `timeout` seconds, and its subclass LoginRefused as
    soon as it is certain that nobody is let in.
    """
    target = Target(destination, options)
    name = name or destination
    with short_dir() as directory, master_connection(name, target, directory, timeout):
        host = SshHost(name, target, directory, diagnose, become)
        try:
            yield host
        finally:
            host.close()
