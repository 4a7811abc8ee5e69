"""The saboteur of the drill, at work on this machine."""

from __future__ import annotations

from random import Random

import pytest

from harness.core.errors import CommandFailed
from harness.hosts.local import LocalHost
from suites.drill import sabotage
from suites.drill.sabotage import EndangeredHost, Saboteur


def endangered(commands: int) -> EndangeredHost:
    saboteur = Saboteur("command", Random(1), armed=True)
    saboteur.commands_left = commands
    return EndangeredHost(LocalHost(), saboteur)


def test_one_command_is_killed_with_its_children_and_the_others_live() -> None:
    host = endangered(2)
    assert host.run(("echo", "one")).text == "one\n"
    with pytest.raises(CommandFailed) as message:
        host.run(("sh", "-c", "sleep 63.25 & wait"))
    assert message.value.returncode == sabotage.KILLED
    assert message.value.argv[0] == "sh" and "sleep 63.25" in host.saboteur.struck
    assert LocalHost().run(("pgrep", "-fx", "sleep 63.25"), check=False).returncode == 1
    assert host.run(("echo", "three")).text == "three\n"


def test_a_spawned_command_is_killed_too() -> None:
    host = endangered(1)
    with host.spawn(("sleep", "64.25")) as process:
        assert process.wait(10).returncode == sabotage.KILLED
    assert "sleep 64.25" in host.saboteur.struck


def test_a_command_that_ends_sooner_was_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    host = endangered(1)
    monkeypatch.setattr(host.saboteur, "lives", lambda: 0.5)
    assert host.run(("cat",), stdin=b"all of it").text == "all of it"
    assert host.saboteur.struck == ""


def test_nobody_is_killed_between_cases() -> None:
    host = endangered(1)
    host.saboteur.armed = False
    assert host.run(("sleep", "0.3")).returncode == 0
    assert host.saboteur.struck == ""
