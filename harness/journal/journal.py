"""The undo log: every change to a host is written down, with its undo, before it is made.

One file per change under DIRECTORY on the host that is changed, removed once the change is undone;
beside it, in a directory of its own, what is to stay when the run has ended.
Leaving the context undoes it; after a SIGKILL or a lost connection `restore` does. An undo must be
harmless when the change was never made, since the crash may have come between the two.

Whatever we change is the kernel's (/sys, /proc, interfaces, namespaces, processes) or lies in /run,
so a reboot undoes it. Each entry carries the boot that it belongs to: to replay one of an earlier
boot would strike at whoever has the port by now.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

import msgspec

from harness.core.errors import (
    CommandFailed,
    HarnessError,
    HostUnreachable,
    JournalFailed,
    LabError,
    MissingCapability,
    Refused,
)
from harness.core.signals import deferred
from harness.hosts.base import Host
from harness.journal.permissions import DEFAULT_BINDING, EVERYTHING, Binding, Permission, denied

DIRECTORY = "/var/lib/nicproof/journal"

BOOT_ID = "/proc/sys/kernel/random/boot_id"
"""Of the kernel that runs: another one after each boot (random(4))."""

WRITE_IF_THERE = '[ ! -e "$2" ] || printf %s "$1" >"$2"'


class UndoCommand(msgspec.Struct, frozen=True, tag="run"):
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


class UndoWrite(msgspec.Struct, frozen=True, tag="write"):
    """Undo by writing a file, such as a sysfs attribute."""

    path: str
    text: str

    def apply(self, host: Host) -> None:
        host.run(("sh", "-c", WRITE_IF_THERE, "sh", self.text, self.path))


Undo = UndoCommand | UndoWrite


_BDF = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


class Entry(msgspec.Struct, frozen=True):
    """One change, as written on the host."""

    what: str
    undo: tuple[Undo, ...]
    boot: str = ""  # BOOT_ID when it was made; "" if it was not known

    @property
    def functions(self) -> tuple[str, ...]:
        """The PCI functions (BDFs) that its undo names: those that it would be done to."""
        words = [
            word
            for step in self.undo
            for word in ((step.path, step.text) if isinstance(step, UndoWrite) else step.argv)
        ]
        return tuple(dict.fromkeys(bdf for word in words for bdf in _BDF.findall(word)))


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
        self._boot: str | None = None

    def permit(self, permission: Permission) -> None:
        """MissingCapability unless changes of this kind may be made."""
        if permission not in self.may:
            raise MissingCapability(*denied(self.host.name, permission))

    @contextmanager
    def change(self, what: str, undo: Sequence[Undo]) -> Iterator[None]:
        """Write the change down, let the caller make it, and undo it when the context ends.

        `what` completes "nicproof did: ..."; `undo` is applied in the given order.
        """
        entry, path = self._entry(what, undo), ""
        try:
            with deferred():
                path = self._write(entry, self.directory)
            yield
        finally:
            with deferred():
                if path:
                    _undo(self.host, entry)
                    self.host.run(("rm", "-f", path))

    def keep(self, what: str, undo: Sequence[Undo]) -> None:
        """Write down a change that is to stay, about to be made: `restore` undoes it."""
        self._write(self._entry(what, undo), self._kept)

    def _entry(self, what: str, undo: Sequence[Undo]) -> Entry:
        if self._boot is None:
            self._boot = boot_of(self.host)
        return Entry(what=what, undo=tuple(undo), boot=self._boot)

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


def boot_of(host: Host) -> str:
    """Which boot of `host` this is; "" if its kernel does not say."""
    try:
        return host.read(BOOT_ID).decode().strip()
    except FileNotFoundError:
        return ""


def left_over(host: Host, alive: Collection[str], root: str = DIRECTORY) -> tuple[str, ...]:
    """Runs that made changes to `host` and neither undid them nor are `alive`, their ids given.

    What a boot has undone since is nothing that is left over.
    """
    paths = _entries(host, root, alive)
    boot = boot_of(host) if paths else ""
    runs = {_run_of(path) for path in paths if not _undone_by_boot(_read(host, path), boot)}
    return tuple(sorted(runs))


def _undone_by_boot(entry: Entry | None, boot: str) -> bool:
    return entry is not None and bool(entry.boot and boot) and entry.boot != boot


def _read(host: Host, path: str) -> Entry | None:
    """None if it was never completely written, or is gone."""
    try:
        return msgspec.json.decode(host.read(path), type=Entry)
    except (msgspec.DecodeError, FileNotFoundError):
        return None


Guard = Callable[[str], Sequence[str]]
"""Of a PCI function: the reasons why nothing may be done to it, none if it is nobody else's."""


@dataclass(frozen=True)
class _Restoring:
    """What crashed runs left on a host, being undone."""

    host: Host
    boot: str
    guard: Guard
    tell: Callable[[str], None]
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def entry(self, path: str) -> None:
        """Undo one. What fails, or must not be done, stays written down, and is told at the end."""
        entry = _read(self.host, path)
        if entry is None or _undone_by_boot(entry, self.boot):
            if entry is not None:
                self.tell(f"a boot has undone it: {entry.what}")
            self.host.run(("rm", "-f", path))
            return
        reasons = [reason for bdf in entry.functions for reason in self.guard(bdf)]
        if reasons:
            self.failed.append(
                f"left “{entry.what}” alone: {'; '.join(dict.fromkeys(reasons))} "
                f"(if it is to stay so, remove {path})"
            )
            return
        try:
            _undo(self.host, entry)
        except HostUnreachable:
            raise
        except HarnessError as error:
            self.failed.append(str(error))
            return
        self.host.run(("rm", "-f", path))
        self.done.append(entry.what)
        self.tell(f"undone: {entry.what}")


def restore(
    host: Host,
    root: str = DIRECTORY,
    *,
    alive: Collection[str] = (),
    guard: Guard = lambda _: (),
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[str, ...]:
    """Undo what crashed runs left on `host`, newest change first; returns what was undone.

    The runs that are `alive` will see to their own. What was meant to stay is undone last, and
    only if nobody is alive who may use it. What belongs to an earlier boot is dropped, since that
    boot's end has undone it; to a function against which `guard` has reasons nothing is done.
    `tell` is called with a line for each change that was undone or dropped.
    Raises LabError after trying everything, naming each undo that failed or must not be made; those
    stay written down. An entry that was never completely written belongs to a change that was never
    made.
    """
    work = _Restoring(host, boot_of(host), cache(guard), tell)
    for place in (root,) if alive else (root, _kept(root)):
        for path in reversed(_entries(host, place, alive)):
            work.entry(path)
        for directory in host.glob(f"{place}/*"):
            if posixpath.basename(directory) not in alive:
                host.run(("rmdir", "--ignore-fail-on-non-empty", directory), check=False)
    if work.failed:
        raise LabError(
            f"{host.name}: not everything could be restored: " + "; ".join(work.failed),
            remedy="free what is named, then restore again",
        )
    return tuple(work.done)


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
