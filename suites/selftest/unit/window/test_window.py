"""The window program, run for real on this machine."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.hosts.program import PYTHON
from harness.window import window
from harness.window.window import (
    Command,
    Probe,
    Reading,
    WindowSpec,
    held_window,
    run_window,
)
from suites.selftest.unit.labs.test_port_lock import AsOverSsh

HOST = LocalHost()
SHAKING = """
import sys
open(sys.argv[1], "a").write("up ")
print("ready", flush=True)
line = sys.stdin.readline()
open(sys.argv[1], "a").write("go ")
sys.stdout.write(repr(line) + sys.stdin.read())
"""


class Hasty(Deadline):
    """A time that is over as soon as something has happened."""

    happened: Callable[[], bool]
    granted: float

    def __init__(self, seconds: float, what: str) -> None:
        super().__init__(seconds, what)
        Hasty.granted = seconds

    @property
    def expired(self) -> bool:
        return Hasty.happened()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> type[Hasty]:
    """Windows have such a time; the test says what has to happen."""
    monkeypatch.setattr(window, "Deadline", Hasty)
    return Hasty


def python(source: str, *argv: object) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, *map(str, argv))


def is_alive(pid: str) -> bool:
    """Whether it still runs; an orphan that init has not yet reaped does not."""
    try:
        return Path(f"/proc/{pid.strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_both_streams_and_the_status_come_back() -> None:
    source = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    result = run_window(HOST, WindowSpec(python(source)))
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
    assert not result.timed_out


def test_more_output_than_a_pipe_holds_on_both_streams_is_no_deadlock() -> None:
    source = "import sys\nfor _ in range(400): print('o' * 999); print('e' * 999, file=sys.stderr)"
    result = run_window(HOST, WindowSpec(python(source), timeout=20.0))
    assert (len(result.stdout), len(result.stderr)) == (400_000, 400_000)


def test_input_reaches_the_command() -> None:
    assert run_window(HOST, WindowSpec(("cat",), stdin="täxt\n")).stdout == "täxt\n"


def test_the_window_is_as_long_as_the_command() -> None:
    result = run_window(HOST, WindowSpec(("sleep", "0.3")))
    assert 0.3e9 <= result.window_ns < 1.5e9


def test_what_is_read_last_at_the_opening_is_read_first_at_the_closing(tmp_path: Path) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    for path in (first, last):
        path.write_text("0")
    spec = WindowSpec(("true",), read=(str(first), str(last)))
    result = run_window(HOST, spec)
    assert list(result.before) == [str(first), str(last)]
    assert list(result.after) == [str(last), str(first)]


def test_a_star_stands_for_what_is_there_at_each_edge(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    old, born = tmp_path / "1" / "comm", tmp_path / "2" / "comm"
    old.write_text("x")
    result = run_window(
        HOST, WindowSpec(("cp", str(old), str(born)), read=(f"{tmp_path}/*/comm", "/none/*/comm"))
    )
    assert result.before == {str(old): "x"}
    assert result.after == {str(old): "x", str(born): "x"}
    assert result.vanished == ()


def test_files_that_vanish_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    gone, never = tmp_path / "gone", tmp_path / "never"
    gone.write_text("1")
    spec = WindowSpec(("rm", str(gone)), read=(str(gone), str(never), "/proc/self/net/dev"))
    result = run_window(HOST, spec)
    assert set(result.vanished) == {str(gone), str(never)}
    assert "/proc/self/net/dev" in result.after


def test_the_counters_of_a_process_that_dies_in_the_window_vanish() -> None:
    with HOST.spawn(("sleep", "60")) as victim, ThreadPoolExecutor() as reaper:
        reaper.submit(victim.wait, 30.0)
        stat = f"/proc/{victim.pid}/task/*/schedstat"
        source = "import os, sys, time; os.kill(int(sys.argv[1]), 9); time.sleep(0.5)"
        result = run_window(HOST, WindowSpec(python(source, victim.pid), read=(stat,)))
    assert len(result.vanished) == 1 and result.returncode == 0


def test_a_command_that_hangs_is_killed_with_its_children(
    tmp_path: Path, hasty: type[Hasty]
) -> None:
    child = tmp_path / "pid"
    # SIGTERM does not impress them.
    script = f"trap '' TERM; sleep 60 & echo $! > {child}; echo said; wait; sleep 60"
    hasty.happened = lambda: child.exists() and bool(child.read_text())
    result = run_window(HOST, WindowSpec(("sh", "-c", script), timeout=7.5))
    assert hasty.granted == 7.5 + window.OVERHEAD_S
    assert result.timed_out and result.stdout == "said\n"
    assert result.returncode == -signal.SIGKILL
    assert not is_alive(child.read_text())


def test_a_command_that_is_in_vain_is_ended_at_once(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    spec = WindowSpec(("sh", "-c", f"touch {begun}; exec sleep 60"))
    result = run_window(HOST, spec, in_vain=begun.exists)
    assert result.timed_out and result.returncode == -signal.SIGTERM


def test_with_a_handshake_the_start_up_is_outside_the_window(tmp_path: Path) -> None:
    log = tmp_path / "log"
    slow = f"import time; time.sleep(0.5)\n{SHAKING}"
    spec = WindowSpec(
        python(slow, log),
        stdin="more",
        handshake=True,
        read=(str(log),),
    )
    result = run_window(HOST, spec)
    assert result.before[str(log)] == "up "  # read when the command was ready, before its go
    assert result.after[str(log)] == "up go "
    assert result.stdout == "'go\\n'more"  # without the "ready"
    assert 0 < result.window_ns < 0.5e9


def test_a_command_that_dies_before_it_is_ready_opens_no_window() -> None:
    source = "import sys; print('no such port'); sys.exit(2)"
    spec = WindowSpec(python(source), handshake=True)
    with pytest.raises(LabError, match="status 2 before it was ready: no such port"):
        run_window(HOST, spec)


def test_a_command_that_never_gets_ready_is_killed(tmp_path: Path, hasty: type[Hasty]) -> None:
    begun = tmp_path / "begun"
    spec = WindowSpec(("sh", "-c", f"touch {begun}; exec sleep 60"), handshake=True)
    hasty.happened = begun.exists
    with pytest.raises(LabError, match="hung before it was ready"):
        run_window(HOST, spec)


def test_the_limit_is_by_our_clock_whatever_the_hosts_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a lab by a virtual clock, in which hours pass while we wait for an answer."""
    fast = "real = time.monotonic\ntime.monotonic = lambda: 10**6 * real()\n"
    source = window._agent_source()
    monkeypatch.setattr(window, "_agent_source", lambda: f"{source}\n{fast}")
    result = run_window(HOST, WindowSpec(("sh", "-c", "sleep 0.2; echo done"), timeout=60.0))
    assert (result.stdout, result.returncode, result.timed_out) == ("done\n", 0, False)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(LabError, match="cannot start no-such-tool: No such file"):
        run_window(HOST, WindowSpec(("no-such-tool",)))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_window_that_is_told_to_stop_ends_its_command(
    signum: signal.Signals, tmp_path: Path
) -> None:
    spec = WindowSpec(("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"))
    pid = tmp_path / "pid"
    program = window._program(spec).encode()
    with subprocess.Popen([*PYTHON, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdin is not None and agent.stdout is not None
        agent.stdin.write(program)
        agent.stdin.close()
        Deadline(10, "the command's start").poll(lambda: pid.exists() and pid.read_text())
        os.kill(agent.pid, signum)
        answer = agent.stdout.read()
    assert not is_alive(pid.read_text())
    with pytest.raises(LabError, match=f"stopped by {signum.name}"):
        window._decode("here", answer)


@pytest.mark.parametrize("host", [HOST, AsOverSsh()], ids=["local", "over ssh"])
def test_a_held_window_covers_what_happens_until_it_is_closed(
    host: LocalHost, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with held_window(host, (str(file),)) as close:
        file.write_text("meanwhile")
        result = close()
    file.write_text("after")
    assert (result.before, result.after) == ({str(file): "before"}, {str(file): "meanwhile"})
    assert result.window_ns > 0 and not result.timed_out


def test_a_held_window_that_somebody_else_closes_is_no_window(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    with held_window(HOST, (mark,)) as close:
        (pid,) = HOST.run(("pgrep", "-f", mark)).text.split()
        os.kill(int(pid), signal.SIGTERM)
        Deadline(10, "its end").poll(lambda: not is_alive(pid))
        with pytest.raises(LabError, match="closed by somebody else"):
            close()


def test_a_held_window_that_is_left_open_does_not_outlive_its_context(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    running = ("pgrep", "-f", mark)
    with pytest.raises(RuntimeError), held_window(HOST, (mark,)):
        assert HOST.run(running).text.split()
        raise RuntimeError
    assert not HOST.run(running, check=False).text.split()


def test_a_held_window_that_cannot_open_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "PYTHON", ("sh", "-c", "no-such-python"))
    with (
        pytest.raises(LabError, match=r"no window: .*no-such-python: not found"),
        held_window(HOST, ()),
    ):
        pass


def test_garbage_instead_of_an_answer_is_quoted() -> None:
    with pytest.raises(LabError, match="Permission denied"):
        window._decode("lab", b"Permission denied\n")


def test_a_spec_takes_the_command_and_all_probes() -> None:
    probes = (
        Probe("a", lambda _: Reading(), read=("x",)),
        Probe("b", lambda _: Reading(), read=("y",), watch=("x",)),
    )
    spec = WindowSpec.of(Command(("true",), "in", True, 5.0, sample_s=0.1), probes)
    assert spec == WindowSpec(
        argv=("true",),
        stdin="in",
        handshake=True,
        timeout=5.0,
        read=("x", "y"),
        watch=("x",),
        every=0.1,
    )


def test_a_reading_that_was_held_up_is_made_again(tmp_path: Path) -> None:
    slow = tmp_path / "counter"
    os.mkfifo(slow)
    held_up = 0.4

    def count(until: threading.Event) -> None:
        for number in itertools.count():
            descriptor = os.open(slow, os.O_WRONLY)  # as soon as somebody reads
            if until.is_set():
                os.close(descriptor)
                return
            time.sleep(0 if number else held_up)
            os.write(descriptor, f"{number} ".encode())
            os.close(descriptor)
            # Whoever reads sees the end of the file before this opens it once more.
            time.sleep(0.02)

    ended = threading.Event()
    with ThreadPoolExecutor() as pool:
        counting = pool.submit(count, ended)
        spec = WindowSpec(("sleep", "0.7"), watch=(str(slow),), every=2.0)
        ((ns, texts),) = run_window(HOST, spec).samples
        ended.set()
        os.close(os.open(slow, os.O_RDONLY))
        counting.result(timeout=30)
    assert texts[str(slow)].split()[0] != "0"
    assert ns >= held_up * 1e9


@pytest.mark.skipif(os.geteuid() != 0, reason="CAP_SYS_ADMIN: a network namespace is needed")
def test_in_a_namespace_its_interfaces_are_seen_and_the_hosts_sysfs_stays() -> None:
    name = f"nicproof-test-{os.getpid()}"
    HOST.run(("ip", "netns", "add", name))
    try:
        spec = WindowSpec(("ls", "/sys/class/net"), read=("/proc/self/net/dev",))
        inside, outside = run_window(HOST, spec, netns=name), run_window(HOST, spec)
    finally:
        HOST.run(("ip", "netns", "delete", name))
    dev = inside.before["/proc/self/net/dev"]
    assert [line.split(":")[0].strip() for line in dev.splitlines()[2:]] == ["lo"]
    assert inside.stdout == outside.stdout


@contextmanager
def reader(answers: int, log: Path) -> Iterator[str]:
    """Somebody at a socket who writes into `log` that it was told, and answers so many times."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            for _ in range(answers):
                if not connection.recv(1):
                    return
                with log.open("a") as file:
                    file.write("told ")
                connection.sendall(b"\n")

    # The kernel's limit for the path of a socket is short.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        path = f"{short}/tell"
        server.bind(path)
        server.listen()
        with ThreadPoolExecutor() as pool:
            served = pool.submit(serve)
            yield path
            served.result(timeout=30)


def test_who_reads_elsewhere_is_told_first_at_the_opening_and_last_at_the_closing(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()
    with reader(3, log) as tell:
        spec = WindowSpec(
            python(SHAKING, log), stdin="", handshake=True, read=(str(log),), tell=tell
        )
        result = run_window(HOST, spec)
    assert result.before[str(log)].split() == ["told", "up", "told"]
    assert result.after[str(log)].split() == ["told", "up", "told", "go"]
    assert log.read_text().split() == ["told", "up", "told", "go", "told"]
    (asked, answered), (asked_again, answered_again) = result.announced
    closed = result.opened_ns + result.window_ns
    assert asked < answered <= result.opened_ns < closed <= asked_again < answered_again


def test_a_held_window_tells_of_its_edges_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with reader(3, log) as tell, held_window(HOST, (), tell=tell) as close:
        assert log.read_text().split() == ["told", "told"]
        result = close()
        assert log.read_text().split() == ["told", "told", "told"]
    assert len(result.announced) == 2


@pytest.mark.parametrize("answers", [0, 1])
def test_without_an_answer_at_the_opening_there_is_no_window(tmp_path: Path, answers: int) -> None:
    with (
        reader(answers, tmp_path / "log") as tell,
        pytest.raises(LabError, match="was told to read, and did not"),
    ):
        run_window(HOST, WindowSpec(("true",), tell=tell))


def test_where_nobody_listens_there_is_no_window(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"did not: .*No such file"):
        run_window(HOST, WindowSpec(("true",), tell=str(tmp_path / "none")))


def test_a_reader_that_dies_in_the_window_leaves_the_rest_to_be_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with reader(2, log) as tell:
        result = run_window(HOST, WindowSpec(("echo", "traffic"), read=(str(log),), tell=tell))
    assert (result.stdout, len(result.announced)) == ("traffic\n", 1)
    assert result.after
