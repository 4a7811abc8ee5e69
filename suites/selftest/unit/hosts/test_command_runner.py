"""The program that runs a connection's commands; a shell of this machine plays the login's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import LabError, NotStarted
from harness.hosts import ssh
from harness.hosts.command_runner import LARGEST, CommandRunner
from harness.hosts.local import LocalHost
from harness.hosts.orphans import end_orphans, orphans
from harness.hosts.orphans_agent import COMMAND, MARK, word_of
from suites.selftest.support.shell_host import ShellHost

Start = Callable[..., ShellHost]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Hosts whose first command is done by a runner."""
    monkeypatch.setattr(ssh, "PLAIN", 0)
    started: list[ShellHost] = []

    def host(*login: str, become: str = "") -> ShellHost:
        started.append(ShellHost(tmp_path, *login, become=become))
        return started[-1]

    yield host
    for each in started:
        each.close()


@pytest.fixture
def host(start: Start) -> ShellHost:
    return start()


def runner(host: ShellHost) -> CommandRunner:
    assert host._runner is not None
    return host._runner


def pid_of(host: ShellHost) -> int:
    """Of the runner on the host: it is the parent of what it starts."""
    return int(host.run(("sh", "-c", "echo $PPID")).text)


def test_streams_and_statuses_are_those_of_the_command(host: ShellHost) -> None:
    result = host.run(("sh", "-c", "cat; printf 'e\\0' >&2; exit 7"), stdin=b"i\0", check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, b"i\0", b"e\0")
    assert host.run(("sh", "-c", "kill -TERM $$"), check=False).returncode == 128 + signal.SIGTERM
    assert runner(host).run(("true",), {}, None, 60).status == 0


def test_what_is_long_is_whole_and_what_is_not_read_harms_nobody(host: ShellHost) -> None:
    data = bytes(range(256)) * (LARGEST // 256)
    assert host.run(("cat",), stdin=data).stdout == data
    assert host.run(("true",), stdin=data).returncode == 0
    assert host.run(("sh", "-c", "exec <&-; sleep 0.1; echo done"), stdin=data).text == "done\n"


def test_any_word_arrives_as_it_is(host: ShellHost) -> None:
    words = ("", "a b", "$HOME", "\n", "\u00fc", "\udcff", "'")
    output = host.run(("printf", "%s\\0", *words)).stdout
    assert output == b"".join(os.fsencode(word) + b"\0" for word in words)
    with pytest.raises(NotStarted, match="shell: cannot start np-none: No such file"):
        host.run(("np-none",))
    with pytest.raises(NotStarted, match="null byte"):
        host.run(("a\0b",))


def test_commands_run_at_once(host: ShellHost, tmp_path: Path) -> None:
    """Each waits for all others."""
    meet = f": >{tmp_path}/$1; while [ $(ls {tmp_path} | grep -c me) -lt 8 ]; do sleep 0.02; done"
    with ThreadPoolExecutor(8) as threads:
        each = [threads.submit(host.run, ("sh", "-c", meet, "sh", f"me{i}")) for i in range(8)]
        assert [result.result().returncode for result in each] == [0] * 8


def test_one_that_leaves_somebody_with_its_output_has_not_ended(host: ShellHost) -> None:
    """As with ssh: what comes later is its output, too."""
    assert host.run(("sh", "-c", "(sleep 0.3; echo late) & echo soon")).text == "soon\nlate\n"
    assert host.run(("sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 3"), check=False).returncode == 3


def test_the_first_commands_do_without(tmp_path: Path) -> None:
    """They tell what the login is like."""
    host = ShellHost(tmp_path)
    for _ in range(ssh.PLAIN):
        host.run(("true",))
        assert host._runner is None
    host.run(("true",))
    assert not runner(host).ended
    host.close()
    assert runner(host).ended


def test_a_login_that_says_something_does_no_harm(start: Start) -> None:
    noisy = start("sh", "-c", 'echo Welcome; echo to >&2; exec "$@"', "sh")
    assert noisy.run(("echo", "x")).text == "x\n"
    assert not runner(noisy).ended


def test_without_python3_commands_run_one_by_one(
    host: ShellHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 'SyntaxError: invalid syntax' >&2; exit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for _ in range(2):
        assert host.run(("echo", "x")).text == "x\n"
    assert runner(host).ended


def test_one_that_never_takes_commands_is_ended(
    host: ShellHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "RUNNER_STARTS", 0.2)
    (tmp_path / "python3").write_text("#!/bin/sh\nsleep 600\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert host.run(("echo", "x")).text == "x\n"
    assert runner(host).ended


SUDO = """#!/bin/sh
[ "$1 $2" = "-n --" ] || exit 1
shift 2
exec env -i PATH=/usr/bin:/bin BY=sudo "$@"
"""
"""As sudo does by its defaults, it passes on nothing of the environment."""


def test_where_sudo_is_needed_it_is_sudo_that_starts_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sudo").write_text(SUDO)
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")
    told = "echo $BY $NICPROOF_BY $LC_ALL $SSH_CONNECTION; echo $PATH"
    host = start(become="sudo")
    by, path = host.run(("sh", "-c", told)).text.splitlines()
    assert by == f"sudo {os.getpid()} C 192.0.2.1 1 192.0.2.2 22"
    assert path.endswith(":/usr/sbin:/sbin")
    assert not runner(host).ended


def test_one_that_is_killed_is_told_and_followed_by_another(host: ShellHost) -> None:
    with pytest.raises(LabError, match="shell: what runs commands there was ended in: sh -c"):
        host.run(("sh", "-c", "kill -KILL $PPID; sleep 600"))
    host.run(("pkill", "-KILL", "-fx", "sleep 600"), check=False)
    assert host.run(("echo", "x")).text == "x\n"
    assert not runner(host).ended


CONNECTION = """
import sys, tempfile
from pathlib import Path
from harness.hosts import ssh
from suites.selftest.support.shell_host import ShellHost
ssh.PLAIN = 0
ShellHost(Path(tempfile.gettempdir()), "sh", "-c", '"$@"; exit $?', "connection").run(
    (sys.executable, "-c", "import time; open('/proc/self/comm', 'w').write('np-run'); "
     "print(1, flush=True); time.sleep(600)"), timeout=600)
"""


def test_what_it_has_started_is_known_by_the_connection_and_it_ends_with_that() -> None:
    """The runner bears no mark, so it is nobody's leftover; what it runs is, once the connection
    has gone."""
    local = LocalHost()

    def find(*words: str) -> list[int]:
        return [int(pid) for pid in local.run(("pgrep", *words), check=False).text.split()]

    with subprocess.Popen((sys.executable, "-c", CONNECTION)) as harness:
        Deadline(60, "the command").poll(lambda: bool(find("-x", "np-run")))
        (command,) = find("-x", "np-run")
        parent = _parent(command)
        assert word_of(command, COMMAND) and not word_of(parent, MARK)
        starter = int(word_of(command, MARK))
        assert "np-run" not in orphans(local)
        harness.kill()
    with suppress(ProcessLookupError):  # as sshd ends with its connection
        os.kill(starter, signal.SIGKILL)
    Deadline(60, "the runner's end").poll(lambda: not Path(f"/proc/{parent}").exists())
    assert "np-run" in end_orphans(local)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def test_of_the_sessions_of_sshd_all_commands_take_one(host: ShellHost) -> None:
    first = pid_of(host)
    assert {pid_of(host) for _ in range(20)} == {first}
