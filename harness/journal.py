"""The undo log: every change to a host is written down, with its undo, before it is made.

One file per change under DIRECTORY on the host that is changed, removed once the change is undone;
beside it, in a directory of its own, what is to stay when the run has ended.
Leaving the context undoes it; after a SIGKILL or a lost connection `restore` does. An undo must be
harmless when the change was never made, since the crash may have come between the two.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from harness.errors import (
    CommandFailed,
    HarnessError,
    HostUnreachable,
    JournalFailed,
    LabError,
    MissingCapability,
    Refused,
)
from harness.host.base import Host
from harness.inventory.spec import DEFAULT_BINDING, EVERYTHING, Binding, Permission, denied

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


class Journal:
    """The changes of one run on one host, of the kinds that `may` be made there, and with the
    `binding` that the inventory asks for."""

    def __init__(
        self,
        host: Host,
        run: str,
        root: str = DIRECTORY,
        may: frozenset[Permission] = EVERYTHING,
        binding: Binding = DEFAULT_BINDING,
    ) -> None:
        self.host = host
        self.may = may
        self.binding = binding
        self.directory, self._kept = f"{root}/{run}", f"{_kept(root)}/{run}"
        self._numbers = itertools.count()
        self._made: set[str] = set()

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
        path = self._write(entry, self.directory)
        try:
            yield
        finally:
            _undo(self.host, entry)
            self.host.run(("rm", "-f", path))

    def keep(self, what: str, undo: Sequence[Undo]) -> None:
        """Write down a change that is to stay, about to be made: `restore` undoes it."""
        self._write(Entry(what=what, undo=tuple(undo)), self._kept)

    def _write(self, entry: Entry, directory: str) -> str:
        """The path of the entry on the host; JournalFailed if it cannot be written."""
        path = f"{directory}/{next(self._numbers):06d}.json"
        try:
            if directory not in self._made:
                self.host.run(("mkdir", "-p", "-m", "0700", directory))
                self._made.add(directory)
            self.host.write(path, msgspec.json.encode(entry))
        except (CommandFailed, Refused) as error:  # a full disk; the entry is of no change
            with suppress(LabError):
                self.host.run(("rm", "-f", path))
            raise JournalFailed(error.message) from error
        return path

    def close(self) -> None:
        """Remove the empty directory; a journal with entries left stays for `restore`."""
        if self.directory in self._made:
            self.host.run(("rmdir", "--ignore-fail-on-non-empty", self.directory), check=False)


def left_over(host: Host, alive: Collection[str], root: str = DIRECTORY) -> tuple[str, ...]:
    """Runs that made changes to `host` and neither undid them nor are `alive`, their ids given."""
    return tuple(sorted({_run_of(path) for path in _entries(host, root, alive)}))


def restore(
    host: Host,
    root: str = DIRECTORY,
    *,
    alive: Collection[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[str, ...]:
    """Undo what crashed runs left on `host`, newest change first; returns what was undone.

    The runs that are `alive` will see to their own. What was meant to stay is undone last, and
    only if nobody is alive who may use it. `tell` is called with each change that was undone.
    Raises LabError after trying everything, naming each undo that failed; those stay written
    down. An entry that was never completely written belongs to a change that was never made.
    """
    done: list[str] = []
    failed: list[str] = []
    for place in (root,) if alive else (root, _kept(root)):
        for path in reversed(_entries(host, place, alive)):
            try:
                entry = msgspec.json.decode(host.read(path), type=Entry)
            except msgspec.DecodeError:
                host.run(("rm", "-f", path))
                continue
            except FileNotFoundError:  # somebody else restores, too
                continue
            try:
                _undo(host, entry)
            except HarnessError as error:
                failed.append(str(error))
                continue
            host.run(("rm", "-f", path))
            done.append(entry.what)
            tell(entry.what)
        for directory in host.glob(f"{place}/*"):
            if posixpath.basename(directory) not in alive:
                host.run(("rmdir", "--ignore-fail-on-non-empty", directory), check=False)
    if failed:
        raise LabError(f"{host.name}: not everything could be restored: " + "; ".join(failed))
    return tuple(done)


def _kept(root: str) -> str:
    """Where changes are written down that are to stay: no run has to undo them."""
    return f"{root}-kept"


def _entries(host: Host, root: str, alive: Collection[str]) -> list[str]:
    """Paths of the entries of runs that are no longer alive, the oldest first."""
    return [path for path in host.glob(f"{root}/*/*.json") if _run_of(path) not in alive]


def _run_of(path: str) -> str:
    return posixpath.basename(posixpath.dirname(path))


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
