"""Do nicproof's own programs run on a host?"""

from __future__ import annotations

from harness.core.errors import NotStarted
from harness.doctor.facts import output_of
from harness.doctor.findings import GUESTS, Finding
from harness.hosts.base import Host
from harness.hosts.program import NEWER_PYTHON, PYTHON, too_old


def python(host: Host) -> Finding:
    """By what its python3 says of itself."""
    try:
        return judge_python(output_of(host, (PYTHON[0], "--version")) or "")
    except NotStarted:
        return judge_python("")


def judge_python(message: str) -> Finding:
    """From `python3 --version`."""
    if why := too_old(message):
        return Finding("Python", "no", why, NEWER_PYTHON, GUESTS)
    return Finding("Python", "yes", message.strip(), needed=GUESTS)
