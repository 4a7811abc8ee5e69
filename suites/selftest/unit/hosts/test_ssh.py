"""The ssh host, as far as it goes without a server: a local shell plays the remote one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.deadline import Deadline
from harness.core.errors import CommandFailed, DeadlineExpired, HostUnreachable, LabError
from harness.hosts import guard, ssh
from harness.hosts.connection import KEEPER, Target
from harness.hosts.local import LocalHost, PipedProcess
from harness.hosts.ssh import (
    EXISTS,
    FULL,
    connect,
    glob_argv,
    remote_command,
    write_argv,
)
from suites.selftest.support.shell_host import ShellHost

WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=5
)


def remote(line: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """What sshd does with a command: hand it to a shell."""
    result = LocalHost().run(("sh", "-c", line), stdin=stdin, check=False)
    return result.returncode, result.stdout, result.stderr


@settings(max_examples=40)
@given(WORDS)
def test_any_word_survives_the_remote_shell(words: list[str]) -> None:
    status, out, _ = remote(remote_command(("printf", "%s\\0", *words), "id"))
    assert status == 0
    assert out == b"".join(w.encode() + b"\0" for w in words or [""])


@pytest.fixture(params=[0, 1000], ids=["by a runner", "alone"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ShellHost]:
    """Whichever way it runs commands."""
    monkeypatch.setattr(ssh, "PLAIN", request.param)
    with closing(ShellHost(tmp_path)) as host:
        yield host


PASSING = (
    *(sys.executable, "-c"),
    "import signal, sys, time; open('/proc/self/comm', 'w').write('np-passing')\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1:] else signal.SIG_DFL)\n"
    "time.sleep(60)",
)


@pytest.mark.parametrize("stubborn", [(), ("stubborn",)])
def test_a_command_that_passes_its_time_is_ended_with_its_children(
    stubborn: tuple[str, ...], host: ShellHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our clock: there is no limit in what the host is given, whatever its clock makes of it."""
    monkeypatch.setattr(ssh, "ANSWER", 5.0)
    monkeypatch.setattr(ssh, "KILL_AFTER", 0.5)
    script = ("setsid", "sh", "-c", '"$@" & wait', "sh", *PASSING, *stubborn)
    with pytest.raises(DeadlineExpired, match=r"(?s)shell: setsid .* did not end within 0\.1 s"):
        host.run(script, timeout=0.1)
    assert host.run(("pgrep", "-r", "D,R,S", "-x", "np-passing"), check=False).returncode == 1


def test_a_host_too_busy_to_end_a_command_hides_not_which_that_was(
    host: ShellHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a starved virtual machine is: the program that ends it takes too long to start."""
    monkeypatch.setattr(ssh, "ANSWER", 0.2)
    monkeypatch.setattr(ssh, "ENDING", 0.1)
    monkeypatch.setattr(ssh, "program", lambda *_: ("sh", "-c", "sleep 60", "sh"))
    message = (
        r"shell: sleep 61 did not end within 0\.1 s, and may run on: shell: ending what has .*"
    )
    with pytest.raises(DeadlineExpired, match=message):
        host.run(("sleep", "61"), timeout=0.1)


@pytest.mark.parametrize("check", [True, False])
def test_a_command_that_cannot_be_started_is_told(check: bool, host: ShellHost) -> None:
    with pytest.raises(LabError, match=r"shell: cannot start np-none: .*No such file"):
        host.run(("np-none",), check=check)
    output = host.run(("sh", "-c", "echo env: >&2; exit 3"), check=False)
    assert (output.returncode, output.error) == (3, "env:\n")


def test_a_file_is_read_or_is_not_there(host: ShellHost, tmp_path: Path) -> None:
    file = tmp_path / "No such file or directory"
    with pytest.raises(FileNotFoundError, match=r"shell: .*/No such"):
        host.read(str(file))
    file.write_bytes(b"con\0tent")
    assert host.read(str(file)) == b"con\0tent"
    with pytest.raises(CommandFailed, match="Is a directory"):
        host.read(str(tmp_path))


def test_a_file_that_comes_into_being_while_it_is_looked_for_was_not_there(
    host: ShellHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "cat"
    slow.write_text(f'#!/bin/sh\n{shutil.which("cat")} "$@"; status=$?; : >$2; exit $status\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(FileNotFoundError):
        host.read(f"{tmp_path}/late")
    assert (tmp_path / "late").exists()


def test_a_connection_ends_when_nobody_holds_it_any_more() -> None:
    """A shell plays the connection's end on the host: it would go on for a minute."""
    keeper = KEEPER.removeprefix("exec ")
    with subprocess.Popen(
        ("sh", "-c", f"{keeper}; sleep 61.5"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as end:
        assert end.stdin is not None and end.stdout is not None
        end.stdin.write(b"hello\n")
        end.stdin.flush()
        assert end.stdout.readline() == b"hello\n"
        assert end.poll() is None
        end.stdin.close()
        assert end.wait(10) == -signal.SIGTERM


ORPHANED = """
import ctypes, os, subprocess, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, prctl(2): orphans become our children
ours, held = os.pipe()
script = f"{sys.argv[1]} <&{ours} & read -r _"
streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
end = subprocess.Popen(("sh", "-c", script), pass_fds=(ours,), **streams)
os.write(held, b"hello\\n")
end.stdout.readline()
end.stdin.close()
end.wait()
os.close(held)
os.close(ours)
os.wait()
print("alive")
"""


def test_a_keeper_that_was_orphaned_does_not_end_who_adopts_it() -> None:
    """On most hosts that is init."""
    output = LocalHost().run((sys.executable, "-c", ORPHANED, KEEPER.removeprefix("exec ")))
    assert output.text == "alive\n"


NAMES = ("a", "b c", "$(touch pwned)", "*", "x;y", "q'", "[z]", "back\\slash", ".hidden")


@pytest.mark.parametrize(
    "pattern",
    ["*", "b*", "b c", "? c", "$*", "$(touch pwned)", "none*", "[ab]*", "[!ab]*", "back\\*", "[*]"],
)
def test_glob_agrees_with_the_local_host(tmp_path: Path, pattern: str) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    full = f"{tmp_path}/{pattern}"
    found = LocalHost().run(glob_argv(full)).stdout.split(b"\0")
    assert sorted(os.fsdecode(path) for path in found if path) == list(LocalHost().glob(full))
    assert not (tmp_path / "pwned").exists()


def test_exists_sees_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for name, status in (("link", 0), ("nothing", 1)):
        argv = ("sh", "-c", EXISTS, "sh", f"{tmp_path}/{name}")
        assert LocalHost().run(argv, check=False).returncode == status


def test_a_write_is_one_write_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "value with space"
    target.write_bytes(b"x" * 100_000)
    LocalHost().run(write_argv(str(target)), stdin=b"new\0value")
    assert target.read_bytes() == b"new\0value"
    output = (
        LocalHost().run((*write_argv(str(target)), "status=noxfer"), stdin=b"v" * 300_000).error
    )
    assert "0+1 records out" in output
    assert target.stat().st_size == 300_000


def guarded(*argv: str) -> PipedProcess:
    return PipedProcess("here", guard.guarded(argv))


def test_the_guard_passes_status_and_streams_on() -> None:
    process = guarded("sh", "-c", "echo out; echo err >&2; exit 7")
    result = process.wait(5)
    process.close()
    assert (result.returncode, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


def test_output_is_read_while_it_is_written_and_nothing_of_it_is_lost() -> None:
    lines = "".join(f"{number}\n" for number in range(20_000)).encode()
    with LocalHost().spawn(
        (sys.executable, "-c", "for i in range(20_000): print(i, flush=True)")
    ) as process:
        while process.poll() is None:
            assert lines.startswith(process.output())
        assert process.output() == process.wait(1).stdout == lines


def alive(group: int) -> list[str]:
    """The processes of a group, but for dead ones."""
    argv = ("pgrep", "-r", "D,R,S", "-g", str(group))
    return LocalHost().run(argv, check=False).text.split()


def test_the_guard_ends_the_whole_session_when_input_ends(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process = guarded("sh", "-c", f"sleep 60 & echo $! > {pids}; sleep 60")
    while not (pids.exists() and pids.read_text().strip()):
        time.sleep(0.01)
    assert process.poll() is None
    assert process._child.stdin is not None
    process._child.stdin.close()
    assert process.wait(5).returncode == 143
    assert not alive(process.pid), "the guard itself left something"
    process.close()
    state = Path(f"/proc/{pids.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text()


def test_the_guard_leaves_no_sleep_of_its_own_however_soon_it_is_over(tmp_path: Path) -> None:
    """One in ten stayed for three seconds, and the next run found an orphan."""
    ready = tmp_path / "ready"
    for _ in range(40):
        process = guarded("sh", "-c", f": >{ready}; exec sleep 60")
        while not ready.exists():
            time.sleep(0.001)
        assert process._child.stdin is not None
        process._child.stdin.close()
        assert process.wait(5).returncode == 143
        _ended_soon(process.pid)
        process.close()
        ready.unlink()


def _ended_soon(pid: int) -> None:
    Deadline(1, "the end of the guard's own").poll(lambda: not alive(pid))


def test_a_client_cannot_open_a_connection_of_its_own(tmp_path: Path) -> None:
    target = Target("root@192.0.2.1", ("-F", "/dev/null"))
    begin = time.monotonic()
    result = LocalHost().run((*target.client(tmp_path / "ctl"), "true"), check=False)
    assert result.returncode == 255
    assert time.monotonic() - begin < 3  # 192.0.2.1 (RFC 5737) would not have answered


def test_options_stand_before_the_destination() -> None:
    target = Target("root@host", ("-p", "2222", "-i", "key"))
    for argv in (target.master(Path("/c"), 5), target.client(Path("/c"))):
        assert argv[argv.index("root@host") - 4 : argv.index("root@host")] == target.options


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("Host key verification failed.", "accept its key once, by: ssh root@alpha"),
        (
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nOffending ED25519 key in /a b/k:12\n"
            "Host key verification failed.",
            "remove line 12 of /a b/k",
        ),
        ("Unable to negotiate with ::1 port 22: no matching cipher found. Their offer: x", "allow"),
        ("root@alpha: Permission denied (publickey).", "--identity FILE names a key"),
        ("ssh: Could not resolve hostname alpha: Name or service not known", ""),
    ],
)
def test_how_to_get_in_is_told_where_that_is_known(
    message: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        pytest.raises(HostUnreachable, match=r"alpha: cannot (connect|log in): ") as lost,
        connect("root@alpha"),
    ):
        pass
    assert message in lost.value.message
    assert remedy in lost.value.remedy and bool(remedy) == bool(lost.value.remedy)


def test_a_command_that_sshd_has_no_room_for_is_told_from_a_lost_connection(tmp_path: Path) -> None:
    class FullHost(ShellHost):
        def client_argv(self, command: str) -> tuple[str, ...]:
            return ("sh", "-c", f"echo '{FULL}' >&2; exit 255", command)

    with pytest.raises(HostUnreachable, match=r"refuses another command .*: true") as full:
        FullHost(tmp_path).run(("true",))
    assert "MaxSessions" in full.value.remedy
