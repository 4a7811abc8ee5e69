"""A host behind a shell of this machine instead of ssh."""

from __future__ import annotations

from pathlib import Path

from harness.hosts.connection import Target
from harness.hosts.ssh import SshHost


class ShellHost(SshHost):
    """One that is started by `login`, if that is given."""

    def __init__(self, directory: Path, *login: str, become: str = "", name: str = "shell") -> None:
        super().__init__(name, Target("nowhere"), directory, str, become)
        self.login = login

    def client_argv(self, command: str) -> tuple[str, ...]:
        return (*self.login, "sh", "-c", command)
