"""Does the host's sshd let a run do what it does at the same time?"""

from __future__ import annotations

import re

from harness.core.errors import NotStarted
from harness.doctor.facts import output_of
from harness.doctor.findings import Finding
from harness.hosts.base import Host
from harness.hosts.ssh import ALLOW_SESSIONS, SESSIONS


def login(host: Host) -> Finding:
    """By what sshd says of its own configuration, which only root may read."""
    try:
        settings = output_of(host, ("sshd", "-T"))
    except NotStarted:  # another server, such as dropbear
        settings = None
    return judge_sessions(settings or "")


def judge_sessions(settings: str) -> Finding:
    """From what `sshd -T` prints: MaxSessions is for each connection, and a run has one."""
    name = "ssh sessions"
    found = re.search(r"^maxsessions (\d+)$", settings, re.MULTILINE)
    if found is None:
        return Finding(name, "note", "sshd does not tell its MaxSessions", ALLOW_SESSIONS)
    detail = f"{found[1]} at once over a connection"
    if int(found[1]) < SESSIONS:
        detail += ": enough for bench, qualify takes two for each VF that has traffic"
        return Finding(name, "no", detail, ALLOW_SESSIONS)
    return Finding(name, "yes", detail)
