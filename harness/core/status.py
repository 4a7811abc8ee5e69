"""What the exit statuses of nicproof's commands mean: declared here, and nowhere else."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a command ended. A verdict is 0, 1 or 3, and nothing else ever is."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNDECIDED = 3
    CRASHED = 4
    INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
    UNHEARD = 141  # 128 + SIGPIPE: whoever read the output went away

    @property
    def meaning(self) -> str:
        """In words, for --help."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.OK: "all went well, and what was judged is no regression",
    Status.FAILED: "a regression, or a trial or the rig failed",
    Status.USAGE: "wrong usage, or input that cannot be used: runs that cannot be compared, damage",
    Status.UNDECIDED: "undecided (with --strict)",
    Status.CRASHED: "a fault of nicproof's own, which is no verdict",
    Status.INTERRUPTED: "interrupted",
    Status.UNHEARD: "nobody read the output",
}


SESSION_UNDECIDED = 6
"""pytest's exit status for a session that was to be decided (--strict-verdict) and was not; pytest
has none of this number."""


def explained() -> str:
    """All of them, a line each."""
    return "\n".join(f"  {status.value:<4} {status.meaning}" for status in Status)
