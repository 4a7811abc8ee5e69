"""Asking a host, where an answer may be missing: a file that is not there says nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import LabError, NotStarted, RunOver
from harness.hosts.base import Host


def text(host: Host, path: str) -> str:
    """A file's content, stripped; "" if it cannot be read."""
    try:
        return host.read(path).decode(errors="replace").strip()
    except RunOver:
        raise
    except (OSError, LabError):
        return ""


def output_of(host: Host, argv: Sequence[str]) -> str | None:
    """What a command printed; None if it failed. NotStarted if the host has no such program, which
    says nothing of what it was to tell."""
    try:
        result = host.run(argv, check=False)
    except (RunOver, NotStarted):
        raise
    except LabError:
        return None
    return result.text if result.returncode == 0 else None


def names(host: Host, pattern: str) -> tuple[str, ...]:
    """Last parts of the paths that match."""
    return tuple(path.rpartition("/")[2] for path in host.glob(pattern))
