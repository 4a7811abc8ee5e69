"""Tell which processes have lost whoever had them started, or end them; or end a starter.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> tell|end SECONDS` prints the name of each such process, a line each.
With `end` it kills them, and those that they start meanwhile, until none is left; status 1 if that
takes longer than SECONDS. `starters PID...` kills whoever had these processes started. `command ID
SECONDS` ends the command that carries ID in its environment (COMMAND), and its children: SIGTERM,
after SECONDS SIGKILL.

A process says in its environment (MARK) by which one it was started: "PID@NAMESPACE", the number
being one of that pid namespace, or "PID", of the process's own one. A number of another namespace
(of a container) means nothing here, so a starter is looked for by both. It is gone if there is
none, if it is dead but not yet waited for, or if it is younger: then the number has passed on.
Of a namespace that cannot be seen from here nothing is known, and nothing of it is ended.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MARK = "NICPROOF_BY"
COMMAND = "NICPROOF_COMMAND"

INITIAL = "4026531836"
"""The first pid namespace, from which all processes are seen (PROC_PID_INIT_INO, proc_ns.h)."""


def main(verb: str, *arguments: str) -> int:
    if verb == "starters":
        for pid in map(int, arguments):
            with contextlib.suppress(OSError):  # it has ended meanwhile, or its starter has
                starter = View().starter_of(pid)
                if starter:
                    os.kill(starter, signal.SIGKILL)
        return 0
    if verb == "command":
        return end_command(arguments[0], float(arguments[1]))
    (seconds,) = arguments
    return look(end=verb == "end", seconds=float(seconds))


def look(end: bool, seconds: float) -> int:
    limit = time.monotonic() + seconds
    notified: set[int] = set()
    while found := orphans():
        for pid, name in found.items():
            if pid not in notified:
                print(name, flush=True)
                notified.add(pid)
            if end:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if not end:
            break
        if time.monotonic() > limit:
            left = ", ".join(f"{name} ({pid})" for pid, name in found.items())
            print(f"{left} cannot be ended", file=sys.stderr)
            return 1
        time.sleep(0.02)
    return 0


def end_command(command: str, seconds: float) -> int:
    """Status 1 if it does not end even so."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        limit = time.monotonic() + seconds
        while pids := carrying(command):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            if time.monotonic() > limit:
                break
            time.sleep(0.02)
    return 1 if carrying(command) else 0


def carrying(command: str) -> list[int]:
    """Processes that carry its id and are not dead."""
    found = []
    for pid in View().pids:
        with contextlib.suppress(OSError):
            if word_of(pid, COMMAND) == command and stat(pid)[1] is not None:
                found.append(pid)
    return found


def orphans() -> dict[int, str]:
    """Their process ids and names."""
    found, view = {}, View()
    for pid in view.pids:
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if mark_of(pid) and view.starter_of(pid) == 0:
                name, born = stat(pid)
                if born is not None:
                    found[pid] = name
    return found


class View:
    """The processes that are seen from here."""

    def __init__(self) -> None:
        self.pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        self.here = namespace("self")
        self._elsewhere: dict[tuple[str, int], int] = {}
        self._looked = False

    def starter_of(self, pid: int) -> "int | None":
        """The number here of the process that `pid` says it was started by; 0 if that is gone, None
        if it says nothing, or nothing of it can be known. OSError if `pid` has ended."""
        mark, _, where = mark_of(pid).partition("@")
        if not mark.isdigit():
            return None
        where = where or namespace(pid)
        starter = int(mark) if where == self.here else self.elsewhere(where, int(mark))
        born = stat(pid)[1]
        if starter is None or born is None:
            return None
        return starter if starter and lives(starter, born) else 0

    def elsewhere(self, where: str, number: int) -> "int | None":
        """The number here of a process of another namespace; as `starter_of`."""
        if not self._looked:
            for pid in self.pids:
                with contextlib.suppress(OSError):
                    self._elsewhere[namespace(pid), number_inside(pid)] = pid
            self._looked = True
        seen = self.here == INITIAL or any(place == where for place, _ in self._elsewhere)
        return self._elsewhere.get((where, number), 0) if seen else None


def namespace(pid: "int | str") -> str:
    """The inode of its pid namespace (namespaces(7))."""
    return os.readlink(f"/proc/{pid}/ns/pid").partition("[")[2].rstrip("]")


def number_inside(pid: int) -> int:
    """Its number in its own pid namespace: the last of NSpid (proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def mark_of(pid: int) -> str:
    return word_of(pid, MARK)


def word_of(pid: int, wanted: str) -> str:
    """A variable of its environment as it was at its start; "" if there is none."""
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = word.partition(b"=")
        if name == wanted.encode():
            return value.decode(errors="replace")
    return ""


def lives(pid: int, born: int) -> bool:
    """Whether there is a process of this number that was there at that time."""
    try:
        began = stat(pid)[1]
    except OSError:
        return False
    return began is not None and began <= born


def stat(pid: int) -> "tuple[str, int | None]":
    """Its name and, in ticks since the host's boot, its start; no start if it is dead (proc(5))."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    name, _, rest = text.partition("(")[2].rpartition(") ")
    fields = rest.split()
    return name, None if fields[0] in "ZX" else int(fields[19])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
