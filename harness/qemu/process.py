"""A QEMU on a host, local or remote: started as a daemon, ended for certain.

Each command on a host costs a fraction of a second in the nested lab, so starting is one, and
ending is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand
from harness.qemu.argv import GuestFiles

START = """
umask 077
directory=$1 log=$2 pidfile=$3
shift 3
mkdir -p "${directory%/*}" && mkdir "$directory" || exit 1
{
OPEN"$@"
} >"$log" 2>&1 && cat "$pidfile"
"""
"""Make the private directory, start QEMU (which returns once it runs as a daemon), tell its pid."""

OPEN = tuple(f'exec {fd}<>"$1" || exit 1; shift\n' for fd in range(3, 10))
"""Open the next positional parameter under a number; shells know only one-digit numbers."""

STOP = r"""
directory=$1 pidfile=$2
ours() { tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF -e "$pidfile"; } 2>/dev/null
end() {
    for signal in TERM KILL; do
        ours || return 0
        kill -s $signal "$pid"
        for _ in $(seq 200); do ours || return 0; sleep 0.05; done
    done
    echo "process $pid does not end" >&2
    exit 1
}
[ -f "$pidfile" ] && read -r pid <"$pidfile" && end
rm -rf "$directory"
"""
"""End the QEMU whose pidfile is $2, by SIGTERM, by SIGKILL after 10 s, and remove its directory.

A pid that has passed on to another process is left alone: no other has that pidfile among its
arguments. Harmless when nothing was ever started."""


WORKERS = r"""
pgrep -x "vhost-$1"
for task in /proc/"$1"/task/*; do
    read -r comm 2>/dev/null <"$task/comm" && [ "$comm" = "vhost-$1" ] && echo "${task##*/}"
done
exit 0
"""
"""In vhost_worker_create() of drivers/vhost/vhost.c a worker is named by the process it serves."""


@dataclass(frozen=True)
class QemuProcess:
    """A QEMU that has started: its devices are there and its sockets answer."""

    host: Host
    files: GuestFiles
    pid: int

    def vhost_threads(self) -> tuple[int, ...]:
        """Ids of the kernel's threads that are its vhost workers; none since Linux 6.4, where they
        are threads of its own."""
        found = self.host.run(("pgrep", "-x", f"vhost-{self.pid}"), check=False)
        return tuple(int(word) for word in found.text.split())

    def vhost_workers(self) -> tuple[int, ...]:
        """Ids of its vhost workers, threads of its own or of the kernel's, in the order in which
        they were made, which is that of the queues."""
        found = self.host.run(("sh", "-c", WORKERS, "sh", str(self.pid)))
        return tuple(sorted(int(word) for word in found.text.split()))

    def message(self) -> str:
        """What QEMU wrote to its standard error so far; "" if that cannot be had."""
        return _text(self.host, self.files.stderr)


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

    The directory of `files` must not exist: it is made, and removed with all it holds. `fds` are
    files that QEMU inherits, open for reading and writing, as descriptors 3, 4, ... With a
    journal QEMU ends, by harness.journal.journal.restore, even if we are killed.
    Raises LabError with QEMU's own words if it refuses to start.
    """
    if len(fds) > len(OPEN):
        raise LabError(f"at most {len(OPEN)} files can be handed to QEMU, not {len(fds)}")
    stop = UndoCommand(("sh", "-c", STOP, "sh", files.directory, files.pidfile))
    with ExitStack() as stack:
        if journal is None:
            stack.callback(stop.apply, host)
        else:
            stack.enter_context(journal.change(f"started a guest in {files.directory}", (stop,)))
        script = START.replace("OPEN", "".join(OPEN[: len(fds)]))
        places = (files.directory, files.stderr, files.pidfile)
        result = host.run(
            ("sh", "-c", script, "sh", *places, *fds, *argv), timeout=timeout, check=False
        )
        if result.returncode != 0:
            output = _text(host, files.stderr).strip() or result.error.strip() or "it said nothing"
            raise LabError(f"{host.name}: QEMU refused to start: {output}\n  {' '.join(argv)}")
        yield QemuProcess(host, files, int(result.text))


def _text(host: Host, path: str) -> str:
    with suppress(LabError, FileNotFoundError):
        return host.read(path).decode(errors="replace")
    return ""
