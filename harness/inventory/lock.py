"""A lock for each port, on the host that has it: no two runs ever share one.

A small program on the host holds it (`lock_agent.py`) and ends with us or with the connection,
and the lock with it. So there is nothing to clean up after a crash.
"""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath

import msgspec
from msgspec.structs import replace

from harness.deadline import Deadline
from harness.errors import ConfigError, LabError
from harness.host.base import Host, Process
from harness.host.program import last_words, program
from harness.inventory.lock_agent import TAKEN

DIRECTORY = "/run/lock/nicproof"
"""Gone with the next boot, as every lock is."""

LIMIT = 20.0
"""Seconds for python to start on the host and to take a lock, at the most."""


class Owner(msgspec.Struct, frozen=True):
    """Who has a port."""

    run: str
    controller: str  # user@machine that the run was started from
    since: str  # ISO 8601
    token: str = ""  # of one lock: an owner may take a port again

    @classmethod
    def of(cls, run: str) -> Owner:
        """This controller, now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(run, f"{getpass.getuser()}@{socket.gethostname()}", now)

    def __str__(self) -> str:
        return f"run {self.run} of {self.controller}, since {self.since}"


@contextmanager
def port_lock(host: Host, bdf: str, owner: Owner, *, directory: str = DIRECTORY) -> Iterator[None]:
    """The port `bdf` of `host` is ours until the context ends.

    Raises ConfigError, which says who has it, if it is somebody else's, and LabError if the host
    cannot lock at all.
    """
    content = msgspec.json.encode(replace(owner, token=uuid.uuid4().hex))
    path = str(PurePosixPath(directory) / bdf)
    arguments = (directory, bdf, content.decode())
    with host.spawn((*program("harness.inventory", "lock"), *arguments)) as holder:

        def held() -> bool:
            if holder.poll() is not None:
                raise _refused(host, bdf, holder)
            return _content(host, path) == content

        Deadline(LIMIT, f"the lock of {bdf} on {host.name}").poll(held)
        yield


def _content(host: Host, path: str) -> bytes:
    """Of the lock's file, which may not be there yet but is never removed."""
    return host.read(path) if host.exists(path) else b""


def _refused(host: Host, bdf: str, holder: Process) -> ConfigError | LabError:
    """What the program that ended had to say."""
    result = holder.wait(LIMIT)
    if result.returncode != TAKEN:
        return LabError(f"{host.name}: {bdf} cannot be locked: {last_words(result)}")
    try:
        who = str(msgspec.json.decode(result.stdout, type=Owner))
    except msgspec.DecodeError:  # caught in the moment between taking and writing
        who = "somebody who has just taken it"
    return ConfigError(
        f"{host.name}: port {bdf} is in use by {who}",
        remedy="wait until that run is over, or end it",
    )
