"""Programs of our own that run on a host, `*_agent.py`: how one is started there.

Each is stdlib only and sent as text, so a host needs nothing of nicproof, only python3.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from harness.core.errors import ConfigError, NotStarted
from harness.hosts.base import CommandResult, Host

PYTHON = ("python3", "-I", "-S")
"""Isolated and without site: half the start-up time, and nothing of the host's to trip over."""

OLDEST = (3, 9)
"""The Python that these programs are written for. RHEL 8, whose own is 3.6, has it as a package."""

NEWER_PYTHON = (
    "make python3 a newer one there: RHEL 8 has python39 and the like, and `alternatives --set "
    "python3 /usr/bin/python3.9`"
)


def require_python(host: Host) -> None:
    """ConfigError if the host's python3 is too old for these programs, or is none."""
    try:
        output = host.run((PYTHON[0], "--version"), check=False)
        version = output.text if output.returncode == 0 else ""
    except NotStarted:
        version = ""
    if why := too_old(version):
        raise ConfigError(f"{host.name}: {why}", remedy=NEWER_PYTHON)


def too_old(message: str) -> str:
    """Why a python3 that says this of itself (`--version`) will not do; "" if it will."""
    version = re.match(r"Python (\d+)\.(\d+)", message)
    wanted = ".".join(map(str, OLDEST))
    if version is None:
        return f"there is no python3, {wanted} or newer is wanted"
    if (int(version[1]), int(version[2])) < OLDEST:
        return f"python3 is {message.split()[1]}, {wanted} or newer is wanted"
    return ""


@cache
def program(package: str, name: str) -> tuple[str, ...]:
    """argv of the program `name`_agent.py of a package, to which its own arguments are added."""
    return (*PYTHON, "-c", resources.files(package).joinpath(f"{name}_agent.py").read_text())


def last_words(result: CommandResult) -> str:
    """What a program that failed said last: of a traceback, the error."""
    return (result.error.strip().splitlines() or ["it said nothing"])[-1]
