"""What OpenSSH says when a host lets nobody in, and what a person can do about it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

from harness.core.errors import HostUnreachable

_FRAME = re.compile(r"^@+$\n?|^@ +| +@$", re.MULTILINE)
"""What ssh draws around a warning."""

_Remedy = Callable[[re.Match[str], str], str]

KNOWN: tuple[tuple[re.Pattern[str], _Remedy], ...] = (
    (
        re.compile(r"Permissions 0?\d+ for '(.+)' are too open"),
        lambda found, _: f"chmod 600 {shlex.quote(found[1])}",
    ),
    (
        re.compile(r"Load key \"(.+)\": (.+)"),
        lambda found, _: f"{found[1]} is no private key that ssh can use: give another",
    ),
    (
        re.compile(r"Offending \S+ key in (.+):(\d+)"),
        lambda found, _: (
            f"another key than it had: if it was installed anew, remove line {found[2]}"
            f" of {found[1]}; else it is another machine that answers"
        ),
    ),
    (
        re.compile(r"Host key verification failed"),
        lambda _, destination: (
            f"compare and accept its key once, by: ssh {destination}; or learn "
            "it at the first login: --known-hosts FILE, or known_hosts in the inventory"
        ),
    ),
    (
        re.compile(r"Permission denied|Too many authentication failures"),
        lambda *_: "a key or an agent must do, since nobody is asked; --identity FILE names a key",
    ),
    (
        re.compile(r"Unable to negotiate with .*: (no matching .+)\. Their offer"),
        lambda found, _: f"{found[1]}: allow it for this host in ssh's configuration",
    ),
    (
        re.compile(r"Bad (?:owner or permissions on|configuration option)"),
        lambda *_: "mend ssh's configuration: see ssh_config(5)",
    ),
)
"""What it says, from the most telling on, and the remedy, given the destination too."""


class LoginRefused(HostUnreachable):
    """Nobody is let in: the key, the host's key or its file is not right. To wait helps nothing."""


def cannot_connect(name: str, destination: str, message: str) -> HostUnreachable:
    """The error for what ssh said when there was no connection: LoginRefused if that is sure."""
    message = _FRAME.sub("", message).strip()
    for pattern, remedy in KNOWN:
        if found := pattern.search(message):
            why = f"{name}: cannot log in: {message}"
            return LoginRefused(why, remedy=remedy(found, destination))
    return HostUnreachable(f"{name}: cannot connect: {message}")
