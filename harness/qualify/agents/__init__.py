"""The programs of this directory that run on a host, `*_agent.py`."""

from __future__ import annotations

from harness.hosts.program import program


def agent(name: str) -> tuple[str, ...]:
    """argv of the program `name`_agent.py, to which its own arguments are added."""
    return program(__package__, name)
