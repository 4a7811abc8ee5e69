"""The programs of this directory that run on a host, `*_agent.py`: how one is started there."""

from __future__ import annotations

from functools import cache
from importlib import resources

from harness.host.base import CommandResult
from harness.measure.window import PYTHON


@cache
def agent(name: str) -> tuple[str, ...]:
    """argv of the program `name`_agent.py, to which its own arguments are added."""
    text = resources.files(__package__).joinpath(f"{name}_agent.py").read_text()
    return (*PYTHON, "-c", text)


def last_words(result: CommandResult) -> str:
    """What a program that failed said last: of a traceback, the error."""
    return (result.error.strip().splitlines() or ["it said nothing"])[-1]
