"""A lock for each port, on the host that has it, and one for the host: no two runs share one.

A small program on the host holds it (`lock_agent.py`) and ends with us or with the connection,
and the lock with it. So there is nothing to clean up after a crash, and whoever holds a lock lives.
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

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.hosts.base import Host, Process
from harness.hosts.orphans import end_starters
from harness.hosts.program import last_words, program
from harness.labs.real.lock_agent import TAKEN

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
    with _lock(host, bdf, f"port {bdf}", owner, directory):
        yield


@contextmanager
def host_lock(host: Host, owner: Owner, *, directory: str = DIRECTORY) -> Iterator[None]:
    """No other run is on `host` until the context ends; raises as `port_lock` does.

    Runs that shared it would disturb one another's figures, and they name what they make alike:
    the link partner's namespace, macvtaps.
    """
    with _lock(host, "host", "the host", owner, directory):
        yield


@contextmanager
def _lock(host: Host, name: str, what: str, owner: Owner, directory: str) -> Iterator[None]:
    """The lock `name`, in words `what`."""
    content = msgspec.json.encode(replace(owner, token=uuid.uuid4().hex))
    path = str(PurePosixPath(directory) / name)
    arguments = (directory, name, content.decode())
    with host.spawn((*program(__package__, "lock"), *arguments)) as holder:

        def held() -> bool:
            if holder.poll() is not None:
                raise _refused(host, what, holder)
            return _content(host, path) == content

        Deadline(LIMIT, f"the lock of {what} on {host.name}").poll(held)
        yield


def owners(host: Host, *, directory: str = DIRECTORY) -> tuple[Owner, ...]:
    """Who holds locks on `host` now. LabError if that cannot be told."""
    result = host.run((*program(__package__, "owners"), directory), check=False)
    if result.returncode != 0:
        raise LabError(f"{host.name}: locks cannot be looked at: {last_words(result)}")
    try:
        return tuple(msgspec.json.decode(line, type=Owner) for line in result.stdout.splitlines())
    except msgspec.DecodeError as error:  # caught in the moment between taking and writing
        raise LabError(
            f"{host.name}: a lock is being taken: {error}", remedy="try again"
        ) from error


def fence(host: Host, run: str, *, directory: str = DIRECTORY) -> None:
    """Take `host` from a run that holds locks there: its connection ends, and its locks with that.

    For a run that is gone although the host does not know it, since nothing comes from a machine
    that has lost its network. ConfigError if no such run holds a lock.
    """
    argv = (*program(__package__, "fence"), directory, run)
    result = host.run(argv, check=False)
    if result.returncode != 0:
        raise LabError(f"{host.name}: run {run} cannot be ended: {last_words(result)}")
    if not result.stdout:
        raise ConfigError(
            f"{host.name}: no run {run} is at work there",
            remedy=f"nicproof restore {host.name} says which are",
        )
    holders = [int(pid) for pid in result.text.split()]
    if not holders:
        raise LabError(
            f"{host.name}: run {run} cannot be ended: who holds its locks is not seen from here",
            remedy="restore from outside of the container, or from the one that the run is in",
        )
    end_starters(host, holders)


def _content(host: Host, path: str) -> bytes:
    """Of the lock's file, which may not be there yet but is never removed."""
    return host.read(path) if host.exists(path) else b""


def _refused(host: Host, what: str, holder: Process) -> ConfigError | LabError:
    """What the program that ended had to say."""
    result = holder.wait(LIMIT)
    if result.returncode != TAKEN:
        return LabError(f"{host.name}: {what} cannot be locked: {last_words(result)}")
    try:
        who = str(msgspec.json.decode(result.stdout, type=Owner))
    except msgspec.DecodeError:  # caught in the moment between taking and writing
        who = "somebody who has just taken it"
    return ConfigError(
        f"{host.name}: {what} is in use by {who}",
        remedy="wait until that run is over, or end it",
    )
