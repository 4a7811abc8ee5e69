"""The master connection to a machine behind OpenSSH, and its clients.

The master's remote command is KEEPER, fed from a pipe that only this process holds: when the
harness dies, however it dies, the pipe closes, and the keeper ends the connection.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired
from harness.hosts.local import end_group
from harness.hosts.refusal import cannot_connect

ALIVE_INTERVAL, ALIVE_COUNT = 5, 6
"""A peer that is silent for their product, in seconds, is given up."""

LOG = "master.log"
"""In the connection's directory: what the master said."""

KEEPER = """exec sh -c 'cat; read -r _ _ _ parent _ </proc/$$/stat
[ "$parent" != "$PPID" ] || [ "$parent" = 1 ] || kill "$parent"'"""
"""Give back what comes until nothing more can come, then end the connection's end on the host, if
that is still our parent. Without that the connection would last as long as any command in it."""

_BASE = (
    "-T",
    "-a",
    "-x",
    *("-o", "BatchMode=yes"),
    *("-o", "LogLevel=ERROR"),
    *("-o", "ControlPersist=no"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
)


@dataclass(frozen=True)
class Target:
    """How OpenSSH reaches a machine: a destination and the options that go before it."""

    destination: str
    options: tuple[str, ...] = ()

    def master(self, control: Path, connect_timeout: float) -> tuple[str, ...]:
        """argv of the master connection."""
        return (
            *("ssh", "-M", "-S", str(control), *_BASE),
            *("-o", f"ConnectTimeout={max(1, round(connect_timeout))}"),
            *("-o", f"ServerAliveInterval={ALIVE_INTERVAL}"),
            *("-o", f"ServerAliveCountMax={ALIVE_COUNT}"),
            *("-o", "ClearAllForwardings=yes"),
            *(*self.options, self.destination, KEEPER),
        )

    def client(self, control: Path, *extra: str) -> tuple[str, ...]:
        """argv of a client of the master, up to and with the destination.

        Without a master ssh would quietly open a connection of its own; the proxy command that
        fails at once prevents that.
        """
        return (
            *("ssh", "-S", str(control), *_BASE, "-o", "ProxyCommand=false"),
            *(*extra, *self.options, self.destination),
        )


@contextmanager
def master_connection(name: str, target: Target, directory: Path, timeout: float) -> Iterator[None]:
    """The connection, which ends with the context; clients find it by `directory`/ctl.

    Raises HostUnreachable after `timeout` seconds, or its subclass LoginRefused.
    """
    log = directory / LOG
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            target.master(directory / "ctl", timeout),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        try:
            _await_echo(child, Deadline(timeout, f"the connection to {name}"))
        except (DeadlineExpired, OSError) as error:
            output = log.read_text(errors="replace").strip() or str(error)
            raise cannot_connect(name, target.destination, output) from error
        yield
    finally:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        end_group(child)


def _await_echo(child: subprocess.Popen[bytes], deadline: Deadline) -> None:
    """Return once the keeper has sent back a line; OSError if the connection ended."""
    assert child.stdin is not None and child.stdout is not None
    token, seen = b"nicproof is here\n", b""
    child.stdin.write(token)
    child.stdin.flush()
    while token not in seen:
        if not select.select([child.stdout], [], [], deadline.left)[0]:
            deadline.check()
            continue
        chunk = os.read(child.stdout.fileno(), 4096)
        if not chunk:
            raise ConnectionError("the remote end closed the connection")
        seen += chunk
