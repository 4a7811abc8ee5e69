"""L1 as it is once it has booted, kept on disk so that a lab starts in seconds.

The state is QEMU's migration stream in its mapped-ram form: every page has its place in a sparse
file, is written once, and several labs read the same file at the same time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.core.xdg import cache_root
from harness.labs.nested.accel import machine_identity
from harness.labs.nested.cache import PARTIAL, locked, sweep
from harness.labs.nested.vm import LabMachine
from harness.qemu.qmp import Qmp

LIMIT = 60.0
"""Seconds to write or read a state; 4 GiB of mostly empty memory takes one."""

MAPPED_RAM = {"capability": "mapped-ram", "state": True}

LAYOUT = 1
"""Version of what is done to L1 before its state is kept."""


class SnapshotFailed(LabError):
    """A state could not be written or taken up; a lab can still boot cold."""


@dataclass(frozen=True)
class Snapshot:
    """A state file. Its name is the hash of all that it depends on, so a file that is found by
    name is never stale."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.stem

    def exists(self) -> bool:
        return self.path.exists()


class _Identity(msgspec.Struct, frozen=True):
    """What a state depends on: another value of any of these makes it unusable, or dubious."""

    layout: int
    image: str  # content of the image: QEMU's build, kernel, L1's files, keys
    qemu: str
    argv: tuple[str, ...]  # the machine
    host: str  # kernel and CPU of the controller


def snapshot_key(image: str, qemu: str, argv: tuple[str, ...], host: str) -> str:
    """The name of the state of this machine."""
    identity = _Identity(LAYOUT, image, qemu, argv, host)
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:16]


def snapshots() -> Path:
    return cache_root() / "snapshots"


def snapshot_of(machine: LabMachine) -> Snapshot:
    """The snapshot of `machine` on this controller, whether it exists or not."""
    image = machine.image
    version = image.qemu_version
    argv = replace(machine, accel=machine.accel.state).argv()
    key = snapshot_key(image.identity, version, argv, machine_identity())
    return Snapshot(snapshots() / f"{key}.state")


def ensure(
    snapshot: Snapshot, make: Callable[[Callable[[Qmp], None]], None], say: Callable[[str], None]
) -> None:
    """Make the snapshot unless it is there; concurrent makers wait for one another.

    `make` boots the machine, calls what it is given with its QMP connection, and ends it.
    SnapshotFailed if the cache cannot be written to.
    """
    if snapshot.exists():
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(snapshots(), say))
        except ConfigError as error:
            raise SnapshotFailed(error.message, remedy=error.remedy) from error
        if snapshot.exists():  # somebody made it while we waited
            return
        sweep(snapshots())
        partial = snapshot.path.with_suffix(PARTIAL)
        try:
            make(lambda qmp: save(qmp, partial))
            partial.rename(snapshot.path)
        finally:
            partial.unlink(missing_ok=True)


def save(qmp: Qmp, path: Path) -> None:
    """Stop the machine and write its state to `path`. SnapshotFailed if QEMU cannot.

    The state holds the lab's keys; QEMU makes the file with mode 0600.
    """
    qmp.command("stop")
    _transfer(qmp, "migrate", path)


def load(qmp: Qmp, snapshot: Snapshot) -> None:
    """Load the state into a machine started with `-incoming defer`, and let it run.

    SnapshotFailed if QEMU cannot.
    """
    _transfer(qmp, "migrate-incoming", snapshot.path)
    qmp.command("cont")


def discard(snapshot: Snapshot) -> None:
    """Remove a state that could not be loaded, so that the next lab makes it anew."""
    with suppress(OSError):
        snapshot.path.unlink(missing_ok=True)


def _transfer(qmp: Qmp, command: str, path: Path) -> None:
    """Write or read a state, to its end."""
    what = f"{'writing' if command == 'migrate' else 'reading'} the lab's state, {path}"

    def ended() -> dict[str, object] | None:
        state: dict[str, object] = qmp.command("query-migrate")
        return state if state.get("status") in ("completed", "failed") else None

    try:
        qmp.command("migrate-set-capabilities", capabilities=[MAPPED_RAM])
        qmp.command(command, uri=f"file:{path}")
        state = Deadline(LIMIT, what).poll(ended, interval=0.01)
    except LabError as error:
        raise SnapshotFailed(f"{what}: {error}") from error
    if state["status"] == "failed":
        raise SnapshotFailed(f"{what}: {state.get('error-desc', 'QEMU does not say why')}")
