"""Programs of our own that run on a host, `*_agent.py`: how one is started there.

Each is stdlib only and sent as text, so a host needs nothing of nicproof, only python3.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from harness.host.base import CommandResult

PYTHON = ("python3", "-I", "-S")
"""Isolated and without site: half the start-up time, and nothing of the host's to trip over."""


@cache
def program(package: str, name: str) -> tuple[str, ...]:
    """argv of the program `name`_agent.py of a package, to which its own arguments are added."""
    return (*PYTHON, "-c", resources.files(package).joinpath(f"{name}_agent.py").read_text())


def last_words(result: CommandResult) -> str:
    """What a program that failed said last: of a traceback, the error."""
    return (result.error.strip().splitlines() or ["it said nothing"])[-1]
