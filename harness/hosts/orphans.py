"""Commands that outlive whoever had them started: how they are known, and ended.

When the harness is killed or a connection is cut, a command that is under way on the host goes on,
and may change something that `restore` has just put back. So whatever
the harness starts on a host carries in its environment the process there that it was started by:
the connection's end (sshd), or the harness itself where that is on this machine. Once that
process is gone, nobody waits for the command any more: it is an orphan.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.core.errors import LabError
from harness.hosts.base import SBIN, Host
from harness.hosts.orphans_agent import MARK, namespace
from harness.hosts.program import last_words, program


def own_mark() -> str:
    """The mark of what this process starts itself. Its number is one of its pid namespace."""
    return f"{os.getpid()}@{namespace('self')}"


MARKED = f"""[ $PPID != 1 ] || exit; export {MARK}=$PPID LC_ALL=C PATH="$PATH:{SBIN}"; %s"$@"
exit $?"""
"""The parent of the shell that an sshd starts is the connection's end, unless that has just gone.
It is of the same pid namespace, which need not be named, at the price of a fork for each command.
What commands say is read by programs, so all say it in one language. The shell stays, to make a
status of a signal: of a command that a signal ended, sshd tells none."""

MARKS = f"""[ $PPID != 1 ] || exit; export PATH="$PATH:{SBIN}"; exec %s"$@" {MARK}=$PPID LC_ALL=C"""
"""Of a program that gives these to whatever it starts, and bears no mark itself: like the keeper of
the connection it ends with that."""

_SUDO = 'sudo -n -- env %sPATH="$PATH" SSH_CONNECTION="$SSH_CONNECTION" '

BECOME = {
    "": ("", ""),
    "sudo": (_SUDO % f"{MARK}=$PPID LC_ALL=C ", _SUDO % ""),
}
"""What goes before a command to have it done by root, and before a program that marks. sudo passes
on next to nothing of the environment (env_reset in sudoers(5)), and `-n` has it fail rather than
ask for a password."""

LIMIT = 30.0
"""Seconds that orphans may need to end: one may be in a system call that must come to its end."""


def marked(argv: Sequence[str], become: str = "") -> tuple[str, ...]:
    """argv of `argv` with the shell's parent for its starter, done by root if a way to `become`
    that is given."""
    return ("sh", "-c", MARKED % BECOME[become][0], "sh", *argv)


def marking(argv: Sequence[str], become: str = "") -> tuple[str, ...]:
    """argv of a program that takes NAME=VALUE, last, for the environment of what it starts."""
    return ("sh", "-c", MARKS % BECOME[become][1], "sh", *argv)


def orphans(host: Host) -> tuple[str, ...]:
    """Names of the processes on `host` that are orphans."""
    return _told(host, "tell")


def end_orphans(host: Host) -> tuple[str, ...]:
    """End all orphans on `host` for certain; returns their names, when they are gone.

    LabError if one does not end.
    """
    return _told(host, "end")


def end_starters(host: Host, pids: Sequence[int]) -> None:
    """End whoever had these processes of `host` started; what is gone already is no error."""
    _told(host, "starters", *map(str, pids))


def _told(host: Host, verb: str, *arguments: str) -> tuple[str, ...]:
    argv = (*program(__package__, "orphans"), verb, *(arguments or (f"{LIMIT:g}",)))
    result = host.run(argv, timeout=LIMIT + 10.0, check=False)
    if result.returncode != 0:
        raise LabError(
            f"{host.name}: what runs that were killed had started there: {last_words(result)}",
            remedy=f"see `ps` on {host.name}; a process in state D waits for a device",
        )
    return tuple(result.text.split("\n")[:-1])
