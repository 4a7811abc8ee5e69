"""A command that ends with whoever started it, children included, on this machine or another."""

from __future__ import annotations

from collections.abc import Sequence

GUARD = """exec 3<&0
setsid "$@" </dev/null 3<&- & child=$!
( while read -r _ <&3; do :; done
  trap 'kill -KILL $!; exit' TERM
  kill -TERM -$child; sleep 3 & wait $!; kill -KILL -$child ) >/dev/null 2>&1 & guard=$!
wait $child; status=$?
kill $guard 2>/dev/null; wait $guard 2>/dev/null
exit $status
"""
"""The guard's own sleep ends with it: nothing is left once the command has ended. By SIGKILL, since
a shell that has just been forked for it loses any other signal as long as the trap is still its
own, too."""


def guarded(argv: Sequence[str]) -> tuple[str, ...]:
    """argv that runs `argv` in a session of its own and ends that session when input ends.

    Give it a pipe as its standard input: the kernel closes that however its owner dies. The
    status is the command's, 143 (128 + SIGTERM) if it was ended.
    """
    return ("sh", "-c", GUARD, "sh", *argv)
