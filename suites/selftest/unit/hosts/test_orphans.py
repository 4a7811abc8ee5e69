"""Commands whose starter is gone, with processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.hosts import orphans_agent
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.hosts.orphans import end_orphans, marked, orphans, own_mark

NAME = "np-orphan"
"""No other process of this machine is called so."""

COMMAND = (
    *(sys.executable, "-c"),
    f"import time; open('/proc/self/comm', 'w').write('{NAME}'); time.sleep(600)",
)

STARTERS = {
    "a connection": ("sh", "-c", '"$@" & wait', "sh", *marked(COMMAND)),
    "the harness": (
        *(sys.executable, "-c"),
        f"from harness.hosts.local import LocalHost; LocalHost().run({COMMAND!r}, timeout=600)",
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
        assert NAME not in orphans(host)
        assert NAME not in end_orphans(host) and is_there()
        process.kill()
    assert NAME in orphans(host) and is_there()
    assert NAME in end_orphans(host)
    assert not is_there()


APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""In a pid namespace of its own, as a container is."""


@pytest.fixture
def apart() -> tuple[str, ...]:
    if LocalHost().run((*APART, "true"), check=False).returncode != 0:
        pytest.skip("this user may make no pid namespace")
    return APART


@pytest.mark.parametrize("starter", STARTERS)
def test_a_number_of_another_pid_namespace_is_not_taken_for_one_here(
    starter: str, apart: tuple[str, ...]
) -> None:
    """There a starter has a small number, which is no process here, or an older one's."""
    host = LocalHost()
    inside = ("sh", "-c", '"$@"; sleep 600', "sh", *STARTERS[starter])
    with subprocess.Popen((*apart, *inside)) as process:
        while not is_there():
            assert process.poll() is None
        assert NAME not in orphans(host)
        assert NAME not in end_orphans(host) and is_there()
        (child,) = _children(process.pid)  # the namespace's first process
        (started_by,) = _children(child)
        os.kill(started_by, signal.SIGKILL)
        assert NAME in end_orphans(host)
        assert not is_there()
        process.kill()


def test_nothing_is_known_of_a_namespace_that_cannot_be_seen(apart: tuple[str, ...]) -> None:
    """From inside of one, the starter outside cannot be seen."""
    program = (
        "import os, subprocess\n"
        "from harness.hosts.local import LocalHost\n"
        "from harness.hosts.orphans import own_mark, orphans\n"
        "from harness.hosts.orphans_agent import MARK, View\n"
        "for mark, orphan in ((os.environ['OUTSIDE'], False), ('99999@' + View().here, True)):\n"
        "    with subprocess.Popen(('sleep', '60'), env={**os.environ, MARK: mark}) as child:\n"
        "        assert ('sleep' in orphans(LocalHost())) == orphan, mark\n"
        "        child.kill()\n"
    )
    host = LocalHost(env={"OUTSIDE": own_mark(), "PYTHONPATH": os.pathsep.join(sys.path)})
    host.run((*apart, sys.executable, "-c", program))


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_starter_lives_as_long_as_it_is_no_zombie_and_no_other() -> None:
    with subprocess.Popen(("cat",), stdin=subprocess.PIPE) as process:
        _, born = orphans_agent.stat(process.pid)
        assert born is not None
        assert orphans_agent.lives(process.pid, born)
        assert not orphans_agent.lives(process.pid, born - 1), "the number has passed on"
        process.kill()
        while orphans_agent.stat(process.pid)[1] is not None:
            pass
        assert not orphans_agent.lives(process.pid, born), "nobody has waited for it yet"
    assert not orphans_agent.lives(process.pid, born)


def test_one_that_cannot_be_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    host, message = LocalHost(), b"dd (77) cannot be ended\n"
    monkeypatch.setattr(
        host, "run", lambda argv, **_: CommandResult("a", argv, 1, b"dd\n", message)
    )
    with pytest.raises(LabError, match=r"dd \(77\) cannot be ended"):
        end_orphans(host)
