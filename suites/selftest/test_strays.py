"""Commands whose starter is gone, with processes of this machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import LabError
from harness.host import strays_agent
from harness.host.base import CommandResult
from harness.host.local import LocalHost
from harness.host.strays import end_strays, marked, strays

NAME = "np-stray"
"""No other process of this machine is called so."""

COMMAND = (
    *(sys.executable, "-c"),
    f"import time; open('/proc/self/comm', 'w').write('{NAME}'); time.sleep(60)",
)

STARTERS = {
    "a connection": ("sh", "-c", '"$@" & wait', "sh", *marked(COMMAND)),
    "the harness": (
        *(sys.executable, "-c"),
        f"from harness.host.local import LocalHost; LocalHost().run({COMMAND!r}, timeout=60)",
    ),
}


def is_there() -> bool:
    return LocalHost().run(("pgrep", "-r", "D,R,S", "-x", NAME), check=False).returncode == 0


@pytest.mark.parametrize("starter", STARTERS)
def test_what_is_under_way_when_its_starter_is_killed_is_ended(starter: str) -> None:
    host = LocalHost()
    with subprocess.Popen(STARTERS[starter]) as process:
        while not is_there():
            assert process.poll() is None
        assert NAME not in strays(host)
        assert NAME not in end_strays(host) and is_there()
        process.kill()
    assert NAME in strays(host) and is_there()
    assert NAME in end_strays(host)
    assert not is_there()


def test_a_starter_lives_as_long_as_it_is_no_zombie_and_no_other() -> None:
    with subprocess.Popen(("cat",), stdin=subprocess.PIPE) as process:
        _, born = strays_agent.stat(process.pid)
        assert born is not None
        assert strays_agent.lives(process.pid, born)
        assert not strays_agent.lives(process.pid, born - 1), "the number has passed on"
        process.kill()
        while strays_agent.stat(process.pid)[1] is not None:
            pass
        assert not strays_agent.lives(process.pid, born), "nobody has waited for it yet"
    assert not strays_agent.lives(process.pid, born)


def test_one_that_cannot_be_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    host, said = LocalHost(), b"dd (77) cannot be ended\n"
    monkeypatch.setattr(host, "run", lambda argv, **_: CommandResult("a", argv, 1, b"dd\n", said))
    with pytest.raises(LabError, match=r"dd \(77\) cannot be ended"):
        end_strays(host)
