"""The first words with a host: what cannot be worked with is told in a line, before anything is
changed. A shell of this machine plays the remote one."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from harness.core.errors import ConfigError, NotStarted
from harness.hosts.greeting import greet
from suites.selftest.support.shell_host import ShellHost

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else, which root may")


LoginHost = partial(ShellHost, name="alpha")


def stand_in(directory: Path, name: str, script: str) -> None:
    """A program of that name, first in the PATH."""
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture(autouse=True)
def first_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@needs_root
def test_a_host_that_will_do_is_greeted(tmp_path: Path) -> None:
    greet(LoginHost(tmp_path))


def test_a_shell_that_prints_at_login_is_told(tmp_path: Path) -> None:
    noisy = LoginHost(tmp_path, "sh", "-c", 'echo; echo "Welcome to alpha"; exec "$@"', "sh")
    with pytest.raises(ConfigError, match=r"its shell prints .* 'Welcome to alpha'\n.*~/\.bashrc"):
        greet(noisy)


@needs_root
def test_what_a_shell_says_of_itself_on_standard_error_does_no_harm(tmp_path: Path) -> None:
    """As bash does of a locale that it does not have, in every login."""
    warned = "sh: warning: setlocale: LC_ALL: cannot change locale (de_DE.UTF-8)"
    host = LoginHost(tmp_path, "sh", "-c", f'echo "{warned}" >&2; exec "$@"', "sh")
    greet(host)
    with pytest.raises(NotStarted, match="alpha: cannot start np-none"):
        host.run(("np-none",), check=False)
    with pytest.raises(FileNotFoundError):
        host.read("/nowhere/at/all")


@needs_root
def test_an_account_that_is_not_root_is_told(tmp_path: Path) -> None:
    nobody = LoginHost(tmp_path, "setpriv", "--reuid=65534", "--clear-groups")
    with pytest.raises(ConfigError, match=r'alpha: nobody is not root there\n.*become = "sudo"'):
        greet(nobody)


SAID = {
    "asks": "sudo: a password is required",
    "refuses": "nobody is not in the sudoers file.",
}


@pytest.mark.parametrize("message", SAID.values(), ids=SAID)
def test_a_sudo_that_will_not_is_told(message: str, tmp_path: Path) -> None:
    stand_in(tmp_path, "sudo", f'echo "{message}" >&2; exit 1')
    with pytest.raises(ConfigError, match=rf"sudo does not let us be root: {message}\n.*NOPASSWD"):
        greet(LoginHost(tmp_path, become="sudo"))


def test_a_host_without_sudo_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sudo does not let us be root: .*sudo: .*not found"):
        greet(LoginHost(tmp_path, become="sudo"))


def test_the_tools_of_an_administrator_are_found(tmp_path: Path) -> None:
    """An ordinary login's PATH does not lead to them."""
    assert LoginHost(tmp_path).run(("sh", "-c", "echo $PATH")).text.split(":")[-2:] == [
        "/usr/sbin",
        "/sbin\n",
    ]
