"""A QEMU on a host, local or remote: started as a daemon, ended for certain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from harness.errors import LabError
from harness.host.base import Host
from harness.journal import Journal, Run, Undo
from harness.qemu.argv import GuestFiles

OPEN = tuple(f'exec {fd}<>"$1" || exit 1; shift\n' for fd in range(3, 10))
"""Open the next positional parameter under a number; shells know only one-digit numbers."""

LOG = 'umask 077; exec >"$1" 2>&1; shift\n'

START = 'exec "$@"'

STOP = r"""
pid=$(cat "$1" 2>/dev/null) || exit 0
ours() { tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF -e "$pidfile"; } 2>/dev/null
pidfile=$1
for signal in TERM KILL; do
    ours || exit 0
    kill -s $signal "$pid"
    for _ in $(seq 60); do ours || exit 0; sleep 0.05; done
done
echo "process $pid does not end" >&2
exit 1
"""
"""End the QEMU whose pidfile is $1: SIGTERM, SIGKILL after 3 s. A pid that has passed on to
another process is left alone, since no other has that pidfile among its arguments."""


@dataclass(frozen=True)
class QemuProcess:
    """A QEMU that has started: its devices are there and its sockets answer."""

    host: Host
    files: GuestFiles
    pid: int

    def said(self) -> str:
        """What QEMU wrote to its standard error so far; "" if that cannot be had."""
        return _text(self.host, self.files.stderr)


@contextmanager
def guest_directory(host: Host, files: GuestFiles, journal: Journal | None) -> Iterator[None]:
    """The guest's private directory on the host, removed with its content at the end.

    Raises LabError if it exists: a guest of that name runs, or was left behind.
    """
    remove = Run(("rm", "-rf", files.directory), when=files.directory)
    if host.exists(files.directory):
        raise LabError(
            f"{host.name}: {files.directory} exists: a guest of that name runs or was left behind",
            remedy="run `nicproof restore`, or give the guest another name",
        )
    with _change(journal, host, f"made {files.directory}", (remove,)):
        host.run(("mkdir", "-p", "-m", "0700", files.directory))
        yield


@contextmanager
def qemu_process(
    host: Host,
    argv: Sequence[str],
    files: GuestFiles,
    *,
    fds: Sequence[str] = (),
    journal: Journal | None = None,
    timeout: float = 30.0,
) -> Iterator[QemuProcess]:
    """Start `argv` (with -daemonize and -pidfile) on `host`; it ends with the context.

    `fds` are files that QEMU inherits, open for reading and writing, as descriptors 3, 4, ...
    Raises LabError with QEMU's own words if it refuses to start.
    """
    if len(fds) > len(OPEN):
        raise LabError(f"at most {len(OPEN)} files can be handed to QEMU, not {len(fds)}")
    script = LOG + "".join(OPEN[: len(fds)]) + START
    stop = Run(("sh", "-c", STOP, "sh", files.pidfile), when=files.pidfile)
    with _change(journal, host, f"started the guest in {files.directory}", (stop,)):
        result = host.run(
            ("sh", "-c", script, "sh", files.stderr, *fds, *argv), timeout=timeout, check=False
        )
        if result.returncode != 0:
            said = _text(host, files.stderr).strip() or result.error.strip() or "it said nothing"
            raise LabError(f"{host.name}: QEMU refused to start: {said}\n  {' '.join(argv)}")
        yield QemuProcess(host, files, int(host.read(files.pidfile)))


@contextmanager
def _change(
    journal: Journal | None, host: Host, what: str, undo: tuple[Undo, ...]
) -> Iterator[None]:
    """Undo at the end; with a journal also after a crash."""
    if journal is not None:
        with journal.change(what, undo):
            yield
        return
    try:
        yield
    finally:
        for step in undo:
            step.apply(host)


def _text(host: Host, path: str) -> str:
    with suppress(LabError, FileNotFoundError):
        return host.read(path).decode(errors="replace")
    return ""
