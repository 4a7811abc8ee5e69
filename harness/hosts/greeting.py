"""The first words with a host: are we root there, and does its login say only what it is asked?
Whatever would go wrong otherwise would do so later, with less to tell."""

from __future__ import annotations

from harness.core.errors import ConfigError
from harness.hosts.base import CommandResult
from harness.hosts.ssh import SshHost

HELLO = "nicproof greets"

GREET = 'echo "$1"; id -u; id -un'
"""Tell who we are."""

SUDOERS = (
    "there, as root: echo 'USER ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/nicproof, USER being the "
    "account; or log in as root"
)


def greet(host: SshHost) -> None:
    """ConfigError, with what can be done about it, unless the host can be worked with."""
    uid, user = _who(host, host.run(("sh", "-c", GREET, "sh", HELLO), check=False))
    if uid != "0":
        still = f", not even by {host.become}" if host.become else ""
        raise ConfigError(
            f"{host.name}: {user or uid} is not root there{still}",
            remedy='log in as root, or have an account with sudo become that: become = "sudo" in '
            "the inventory, or --become sudo",
        )


def _who(host: SshHost, answer: CommandResult) -> tuple[str, str]:
    """User id and name; ConfigError if the answer is none, or more than one."""
    before, hello, after = answer.text.partition(f"{HELLO}\n")
    if not hello:
        output = (answer.error.strip() or answer.text.strip() or "nothing").splitlines()[-1]
        if host.become:
            raise ConfigError(
                f"{host.name}: sudo does not let us be root: {output}", remedy=SUDOERS
            )
        raise ConfigError(f"{host.name}: its login runs no command: it said {output!r}")
    if before:
        line = (before.strip() or "an empty line").splitlines()[0]
        raise ConfigError(
            f"{host.name}: at each login its shell prints something of its own: {line!r}",
            remedy="there, in ~/.bashrc or what it reads: print only if [ -t 1 ], that is to "
            "say to a terminal",
        )
    uid, user, *_ = (*after.splitlines(), "", "")
    return uid, user
