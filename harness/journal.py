"""The undo log: every change to a host is written down, with its undo, before it is made.

One file per change under DIRECTORY on the host that is changed, removed once the change is undone.
Leaving the context undoes it; after a SIGKILL or a lost connection `restore` does. An undo must be
harmless when the change was never made, since the crash may have come between the two.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from harness.errors import (
    CommandFailed,
    HarnessError,
    HostUnreachable,
    LabError,
    MissingCapability,
)
from harness.host.base import Host
from harness.inventory.spec import EVERYTHING, Permission, denied

DIRECTORY = "/var/lib/nicproof/journal"


WRITE_IF_THERE = '[ ! -e "$2" ] || printf %s "$1" >"$2"'


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Undo by a command."""

    argv: tuple[str, ...]
    when: str = ""  # only if this path exists: there is nothing to undo otherwise

    def apply(self, host: Host) -> None:
        if self.when and not host.exists(self.when):
            return
        try:
            host.run(self.argv)
        except CommandFailed:
            # Between the look and the command the thing may have gone by itself (a guest that
            # ends takes its tap along); only what is still there is an error.
            if not self.when or host.exists(self.when):
                raise


class Write(msgspec.Struct, frozen=True, tag="write"):
    """Undo by writing a file, such as a sysfs attribute."""

    path: str
    text: str

    def apply(self, host: Host) -> None:
        host.run(("sh", "-c", WRITE_IF_THERE, "sh", self.text, self.path))


Undo = Run | Write


class Entry(msgspec.Struct, frozen=True):
    """One change, as written on the host."""

    what: str
    undo: tuple[Undo, ...]
    kept: bool = False  # it is to stay when its run has ended


class Journal:
    """The changes of one run on one host, of the kinds that `may` be made there."""

    def __init__(
        self,
        host: Host,
        run: str,
        root: str = DIRECTORY,
        may: frozenset[Permission] = EVERYTHING,
    ) -> None:
        self.host = host
        self.may = may
        self.directory = f"{root}/{run}"
        self._numbers = itertools.count()
        self._made = False

    def permit(self, permission: Permission) -> None:
        """MissingCapability unless changes of this kind may be made."""
        if permission not in self.may:
            raise MissingCapability(*denied(self.host.name, permission))

    @contextmanager
    def change(self, what: str, undo: Sequence[Undo]) -> Iterator[None]:
        """Write the change down, let the caller make it, and undo it when the context ends.

        `what` completes "nicproof did: ..."; `undo` is applied in the given order.
        """
        entry = Entry(what=what, undo=tuple(undo))
        path = self._write(entry)
        try:
            yield
        finally:
            _undo(self.host, entry)
            self.host.run(("rm", "-f", path))

    def keep(self, what: str, undo: Sequence[Undo]) -> None:
        """Write down a change that is to stay, about to be made: `restore` undoes it."""
        self._write(Entry(what=what, undo=tuple(undo), kept=True))

    def _write(self, entry: Entry) -> str:
        """The path of the entry on the host."""
        path = f"{self.directory}/{next(self._numbers):06d}.json"
        if not self._made:
            self.host.run(("mkdir", "-p", "-m", "0700", self.directory))
            self._made = True
        self.host.write(path, msgspec.json.encode(entry))
        return path

    def close(self) -> None:
        """Remove the empty directory; a journal with entries left stays for `restore`."""
        if self._made:
            self.host.run(("rmdir", "--ignore-fail-on-non-empty", self.directory), check=False)


def left_over(host: Host, alive: Collection[str], root: str = DIRECTORY) -> tuple[str, ...]:
    """Runs that made changes to `host` and neither undid them nor are `alive`, their ids given."""
    found = _entries(host, alive, root)
    return tuple(sorted({_run_of(path) for path, entry in found if not (entry and entry.kept)}))


def restore(
    host: Host,
    root: str = DIRECTORY,
    *,
    alive: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[str, ...]:
    """Undo what crashed runs left on `host`, newest change first; returns what was undone.

    The runs that are `alive` will see to their own; what was meant to stay is undone last, and
    only if nobody is alive who may use it. `tell` is called with each change that was undone.
    Raises LabError after trying everything, naming each undo that failed; those stay written
    down. An entry that was never completely written belongs to a change that was never made.
    """
    done: list[str] = []
    failed: list[str] = []
    found = _entries(host, alive, root)
    for path, entry in sorted(found, key=_undone_first, reverse=True):
        if entry is not None and entry.kept and alive:
            continue
        if entry is not None:
            try:
                _undo(host, entry)
            except HarnessError as error:
                failed.append(str(error))
                continue
            done.append(entry.what)
            tell(entry.what)
        host.run(("rm", "-f", path))
    for directory in host.glob(f"{root}/*"):
        if posixpath.basename(directory) not in alive:
            host.run(("rmdir", "--ignore-fail-on-non-empty", directory), check=False)
    if failed:
        raise LabError(f"{host.name}: not everything could be restored: " + "; ".join(failed))
    return tuple(done)


Written = tuple[str, Entry | None]
"""An entry's path, and the entry; None if it was never completely written."""


def _entries(host: Host, alive: Collection[str], root: str) -> list[Written]:
    """Those of runs that are no longer alive."""
    found: list[Written] = []
    for path in host.glob(f"{root}/*/*.json"):
        if _run_of(path) not in alive:
            try:
                found.append((path, msgspec.json.decode(host.read(path), type=Entry)))
            except msgspec.DecodeError:
                found.append((path, None))
            except FileNotFoundError:  # undone meanwhile
                continue
    return found


def _run_of(path: str) -> str:
    return posixpath.basename(posixpath.dirname(path))


def _undone_first(written: Written) -> tuple[bool, str]:
    """Greatest for what is to be undone first."""
    path, entry = written
    return not (entry and entry.kept), path


def _undo(host: Host, entry: Entry) -> None:
    """Apply every undo, even if one fails; then raise what failed."""
    failed: list[str] = []
    for step in entry.undo:
        try:
            step.apply(host)
        except HostUnreachable:
            raise  # the journal on the host keeps the entry for `restore`
        except HarnessError as error:
            failed.append(str(error))
    if failed:
        raise LabError(
            f"{host.name}: could not undo “{entry.what}”: " + "; ".join(failed),
            remedy=f"the files in {DIRECTORY} on {host.name} say what is left to undo",
        )
