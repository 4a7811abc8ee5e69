"""irqbalance, made to stand still for the length of a run.

It is paused by SIGSTOP, neither ended nor told which interrupts to leave alone. Ended, it would
begin anew afterwards and spread all interrupts of the host differently from what was found, and
what an administrator has told it at run time would be lost. Its socket takes a list of
interrupts to ban (irqbalance-ui(1)), but by numbers, which a port gets anew whenever its driver is
bound, and versions differ in where the socket is. A paused one knows afterwards what it knew
before, finds every interrupt where it had put it, and goes on. The price: nobody spreads the host's
other interrupts meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand

NAME = "irqbalance"

RUNNING = """
for pid in $(pgrep -x "$1"); do
    grep -qs '^State:.T' "/proc/$pid/status" || echo "$pid"
done
"""
"""Those that somebody else has paused already stay so."""

SIGNAL = """
name=$1 signal=$2
shift 2
for pid; do
    read -r comm 2>/dev/null <"/proc/$pid/comm" && [ "$comm" = "$name" ] || continue
    kill -s "$signal" "$pid" || failed=1
done
exit ${failed-0}
"""
"""A number that has passed on to another process is left alone."""


@contextmanager
def paused(host: Host, journal: Journal) -> Iterator[str]:
    """No irqbalance moves interrupts until the context ends. Yields what was done, in words.

    MissingCapability if it may not be, LabError if it cannot be stopped.
    """
    journal.permit("tune")
    pids = tuple(host.run(("sh", "-c", RUNNING, "sh", NAME)).text.split())
    if not pids:
        yield "not running"
        return
    resume, pause = (("sh", "-c", SIGNAL, "sh", NAME, each, *pids) for each in ("CONT", "STOP"))
    with journal.change(f"paused {NAME}", (UndoCommand(resume),)):
        host.run(pause)
        yield "paused"
