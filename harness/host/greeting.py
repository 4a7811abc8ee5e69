"""The first words with a host: are we root there, does its login say only what it is asked, and
does it run our programs? Whatever would go wrong otherwise would do so later, with less to tell."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import ConfigError
from harness.host.base import CommandResult
from harness.host.ssh import SshHost

PYTHON = (3, 9)
"""The oldest that our programs (`*_agent.py`) run on: RHEL 9, Debian 11."""

HELLO = "nicproof greets"

GREET = r"""
echo "$1"
id -u
id -un
python3 -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null || echo none
for each in /usr/bin/python3.[1-9]*; do
    case ${each#*/python3.} in *[!0-9]* | [1-8]) ;; *) echo "$each" ;; esac
done
"""
"""Tell who we are, which python3 there is, and which others that may do."""


@dataclass(frozen=True)
class Greeting:
    """What a host answered."""

    uid: int
    user: str
    python: str  # of python3, "3.11.2"; "none" if there is none
    others: tuple[str, ...] = ()  # paths of interpreters that are new enough


def greet(host: SshHost) -> None:
    """ConfigError, with what can be done about it, unless the host can be worked with."""
    require(
        host.name, parse(host, host.run(("sh", "-c", GREET, "sh", HELLO), check=False)), host.become
    )


def parse(host: SshHost, answer: CommandResult) -> Greeting:
    """The answer; ConfigError if it is none, or more than one."""
    before, hello, after = answer.text.partition(f"{HELLO}\n")
    if not hello:
        said = (answer.error.strip() or answer.text.strip() or "nothing").splitlines()[-1]
        if host.become:
            raise ConfigError(f"{host.name}: sudo does not let us be root: {said}", remedy=SUDOERS)
        raise ConfigError(f"{host.name}: its login runs no command: it said {said!r}")
    if before:
        line = before.strip().splitlines()[0] if before.strip() else "an empty line"
        raise ConfigError(
            f"{host.name}: at each login its shell prints something of its own: {line!r}",
            remedy="there, in ~/.bashrc or what it reads: print only if [ -t 1 ], that is to "
            "say to a terminal",
        )
    uid, user, python, *others = after.splitlines()
    return Greeting(int(uid), user, python, tuple(others))


SUDOERS = (
    "there, as root: echo 'USER ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/nicproof, USER being the "
    "account; or log in as root"
)


def require(name: str, found: Greeting, become: str = "") -> None:
    """ConfigError unless the account and the python3 of a host will do."""
    if found.uid != 0:
        raise ConfigError(
            f"{name}: {found.user} is not root there"
            + (f", not even by {become}" if become else ""),
            remedy='log in as root, or have an account with sudo become that: become = "sudo" in '
            "the inventory, or --become sudo",
        )
    wanted = ".".join(map(str, PYTHON))
    if found.python == "none":
        raise ConfigError(
            f"{name} has no python3, which nicproof's programs there need",
            remedy="there: sudo apt-get install python3, or dnf install python3",
        )
    if tuple(map(int, found.python.split(".")[:2])) < PYTHON:
        raise ConfigError(
            f"{name}: its python3 is {found.python}, and nicproof's programs there need {wanted} "
            "or later",
            remedy=_newer(found.others),
        )


def _newer(others: tuple[str, ...]) -> str:
    """How to come by a python3 that will do."""
    if others:
        return f"there: ln -s {others[-1]} /usr/local/bin/python3, which comes first in the PATH"
    return (
        "there, RHEL 8: dnf install python3.11 && ln -s /usr/bin/python3.11 /usr/local/bin/python3"
    )
