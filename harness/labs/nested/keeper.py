"""A lab that stays up after the command that started it.

A process in the background holds the lab's context open, as a test session would, until it is
told to end; so there is one way to start a lab and one way to stop it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.core.signals import unwind_when_told
from harness.core.xdg import cache_root
from harness.labs.nested.cache import usable
from harness.labs.nested.image import LabImage
from harness.labs.nested.lab import NestedLab, open_nested_lab, prepare
from harness.labs.nested.login import ssh_options
from harness.labs.nested.machine import DESTINATION
from harness.labs.shape import LabShape

LOOKING_AROUND = LabShape(follows=True)
"""Of a lab for people: it has nothing to do while they have not."""

START_LIMIT = 200.0
"""Seconds for the lab to be up, a cold start included."""

STOP_LIMIT = 15.0

LOG = "keeper.log"

TABLE = "l1"
"""What the lab is called in a lab.toml."""


class LabState(msgspec.Struct, frozen=True):
    """What the keeper of a lab tells about it, in `state.json`."""

    keeper_pid: int
    qemu_pid: int
    ssh_port: int
    fidelity: str
    clock: str
    cpus: int
    qemu_version: str
    image: str  # directory of the cache entry
    snapshot: str
    started: float  # seconds since the epoch

    def ssh_argv(self, command: tuple[str, ...] = (), *, terminal: bool = False) -> tuple[str, ...]:
        """argv of an ssh to the lab, for a person."""
        options = ssh_options(LabImage(Path(self.image)).keys, self.ssh_port)
        log = ("-o", "LogLevel=ERROR", *(("-t",) if terminal else ()))
        line = shlex.join(command) if command else "exec bash -l"
        return ("ssh", *options, *log, DESTINATION, line)

    def document(self) -> dict[str, Any]:
        """For a program: all of it, and how the lab is reached."""
        more = {"logs": str(directory()), "ssh": self.ssh_argv()[:-1]}
        return {**msgspec.structs.asdict(self), **more}

    def text(self) -> str:
        """For a person."""
        return "\n".join(
            (
                f"up since  {time.strftime('%F %T', time.localtime(self.started))}",
                f"kind      {self.fidelity}, QEMU {self.qemu_version}",
                f"L1        {self.clock} clock, CPUs: {self.cpus}",
                f"pids      QEMU {self.qemu_pid}, its keeper {self.keeper_pid}",
                f"image     {self.image}",
                f"snapshot  {self.snapshot or 'none: booted cold'}",
                f"logs      {directory()}",
                f"ssh       {shlex.join(self.ssh_argv()[:-1])}",
                f"lab.toml  {self.inventory()}",
            )
        )

    def inventory(self) -> str:
        """The table of a lab.toml by which the lab is reached as any host is."""
        lines = login_lines(TABLE, self.ssh_port, LabImage(Path(self.image)).keys.client)
        return ("\n" + " " * 10).join(lines)


def login_lines(name: str, ssh_port: int, identity: Path, address: str = "") -> tuple[str, ...]:
    """The table of a lab.toml by which a lab is reached as host `name`, at `address` or its own, a
    line each. The host's key is learnt anew, since the image's own file knows it by another name.
    """
    user, _, own = DESTINATION.partition("@")
    return (
        f"[host.{name}]",
        f'address = "{address or own}"',
        f'user = "{user}"',
        f"ssh_port = {ssh_port}",
        f"identity = {json.dumps(str(identity))}",  # JSON's escapes are among TOML's
        'ssh_config = "/dev/null"',
        'known_hosts = "known_hosts"',
    )


def directory() -> Path:
    """Where the keeper's state and logs are."""
    return cache_root() / "lab"


def current() -> LabState | None:
    """The lab that is up, if one is."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        if _held():
            return msgspec.json.decode(_state_file().read_bytes(), type=LabState)
    return None


def start(shape: LabShape = LOOKING_AROUND) -> LabState:
    """Start a lab in the background and return once it answers; one that is up meanwhile is that
    lab. LabError if it does not answer."""
    home = usable(directory())
    prepare(shape, run_dir=home)  # here, where its progress is seen
    with _alone():
        return current() or _started(home, shape)


def _started(home: Path, shape: LabShape) -> LabState:
    Deadline(STOP_LIMIT, "the end of the lab that was up").poll(lambda: not _held())
    _state_file().unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _become_keeper(shape)
    deadline = Deadline(START_LIMIT, "the lab")
    while (state := current()) is None:
        if os.waitpid(child, os.WNOHANG)[0] == child:
            output = (home / LOG).read_text(errors="replace").strip()
            raise LabError(f"the lab did not start: {output[-2000:]}")
        deadline.check(f"see {home}")
        time.sleep(0.02)
    return state


def stop() -> bool:
    """Stop the lab; False if none is up. One that is about to start is awaited."""
    with _alone():
        state = current()
        if state is None:
            return False
        os.kill(state.keeper_pid, signal.SIGTERM)
        Deadline(STOP_LIMIT, "the end of the lab").poll(lambda: not _held())
        return True


@contextmanager
def _alone() -> Iterator[None]:
    """While the lab is started or stopped nobody else does either. The lock is let go of by name,
    as a keeper that was forked meanwhile has it, too."""
    home = usable(directory())
    with (home / "starting.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting: another command starts the lab, or stops it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


def _become_keeper(shape: LabShape) -> NoReturn:
    """In a child: hold the lab until SIGTERM. Never returns into the parent's code."""
    status = 1
    try:
        os.setsid()
        log = os.open(directory() / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        unwind_when_told(elsewhere=lambda: directory() / LOG)
        _keep(shape)
        status = 0
    except KeyboardInterrupt:
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _keep(shape: LabShape) -> None:
    with _lock_file().open("w") as lock:
        # The lock tells that the keeper lives. Whoever looks whether one does has it for a moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open_nested_lab(shape, run_dir=directory(), progress=False) as lab:
                _write(_state(lab))
                while True:
                    time.sleep(1.0)
                    lab.vm.check()
        finally:
            _state_file().unlink(missing_ok=True)


def _state(lab: NestedLab) -> LabState:
    return LabState(
        keeper_pid=os.getpid(),
        qemu_pid=lab.qemu_pid,
        ssh_port=lab.ssh_port,
        fidelity=lab.fidelity,
        clock=lab.clock,
        cpus=lab.lab_cpus,
        qemu_version=lab.qemu_version,
        image=str(lab.image.directory),
        snapshot=lab.snapshot,
        started=time.time(),
    )


def _write(state: LabState) -> None:
    partial = _state_file().with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(state))
    partial.rename(_state_file())


def _held() -> bool:
    """Whether a keeper lives."""
    try:
        with _lock_file().open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or none of ours
        return False
    return False


def _lock_file() -> Path:
    return directory() / "keeper.lock"


def _state_file() -> Path:
    return directory() / "state.json"
