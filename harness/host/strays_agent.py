"""Tell which processes have lost whoever had them started, or end them.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> tell|end SECONDS`. It prints the name of each such process, a line
each. With `end` it kills them, and those that they start meanwhile, until none is left; status 1
if that takes longer than SECONDS.

A process says in its environment (MARK) by which one it was started. That one is gone if there is
none of this number, if it is dead but not yet waited for, or if it is younger: then the number
has passed on to another.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

MARK = "NICPROOF_BY"


def main(verb: str, seconds: str) -> int:
    end = time.monotonic() + float(seconds)
    told: set[int] = set()
    while found := strays():
        for pid, name in found.items():
            if pid not in told:
                print(name, flush=True)
                told.add(pid)
            if verb == "end":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if verb == "tell":
            break
        if time.monotonic() > end:
            left = ", ".join(f"{name} ({pid})" for pid, name in found.items())
            print(f"{left} cannot be ended", file=sys.stderr)
            return 1
        time.sleep(0.02)
    return 0


def strays() -> dict[int, str]:
    """Their process ids and names."""
    found = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            starter, (name, born) = started_by(pid), stat(pid)
            if starter is not None and born is not None and not lives(starter, born):
                found[pid] = name
    return found


def started_by(pid: int) -> "int | None":
    """The mark in its environment as it was at its start; None if there is none."""
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = word.partition(b"=")
        if name == MARK.encode() and value.isdigit():
            return int(value)
    return None


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
