"""Whatever tells a run to end, it puts back what it changed, and says so; and whoever has started
it waits for that, but not forever.

What these runs change is a file, and it is put back when the test says so.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.core.deadline import Deadline
from harness.core.signals import ANSWER, ENDING, deferred, unwind_when_told
from harness.core.status import Status
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal, UndoCommand
from harness.records.history.runs import open_history
from harness.runs.suite import ROOT
from suites.selftest.support.synthetic_run import make_run

LIMIT = 120.0
LOG = "putting-back.log"

PLUGIN = """
import os, time
from pathlib import Path
import pytest
from fixtures.common.options import begun
from suites.selftest.support.synthetic_run import make_run, write_run

here = Path(__file__).parent
changed, may_go = here / "changed", here / "may-go"

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    run_dir = begun(session.config).run_dir
    if os.environ.get("MEASURED"):
        write_run(run_dir, *make_run(1, paths=("sriov",), workloads=("tcp-tx",), trials=1))
    changed.with_suffix(".new").write_text(f"{os.getpid()} {os.environ.get('RUNNER_TRACKING_ID')}")
    changed.with_suffix(".new").rename(changed)
    try:
        while not may_go.exists():
            time.sleep(0.01)
    finally:
        while not may_go.exists():
            time.sleep(0.01)
        print("put back", flush=True)
        changed.unlink()
    return True
"""

COMMAND = """
import sys
from harness.cli import main as cli
from harness.runs import suite
suite.PATIENCE = float(sys.argv.pop(1))
sys.exit(cli.main())
"""


def heed() -> None:
    """Ignore no signal, as whoever runs these tests may: nohup does, and a shell's `&`."""
    for signum in ENDING:
        signal.signal(signum, signal.SIG_DFL)


class Started:
    """A program that has changed something; what it says goes to a file."""

    def __init__(self, directory: Path, *argv: str, **popen: Any) -> None:
        self.directory = directory
        (directory / "changing.py").write_text(PLUGIN)
        env = {"PYTHONPATH": f"{ROOT}:{directory}", "RUNNER_TRACKING_ID": "github_1"}
        with (directory / "output").open("wb") as output:
            usual = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                argv,
                **{**usual, "preexec_fn": heed, **popen},
                start_new_session=True,
                env={**os.environ, **env},
            )
        self.changed = directory / "changed"
        self._poll("the change", lambda: self.changed.exists() or self.process.poll() is not None)
        assert self.changed.exists(), self.output()
        self.pid, _, self.tracked_by = self.changed.read_text().partition(" ")

    def _poll(self, what: str, probe: Callable[[], object]) -> None:
        try:
            Deadline(LIMIT, what).poll(probe)
        except Exception as error:
            error.add_note(self.output())
            raise

    def output(self, name: str = "output") -> str:
        return (self.directory / name).read_text()

    def says(self, what: str, where: str = "output") -> None:
        self._poll(f"{what!r}", lambda: what in self.output(where))

    def puts_back(self) -> None:
        """It may, and does."""
        assert self.changed.exists(), self.output()
        (self.directory / "may-go").touch()
        self._poll("the putting back", lambda: not self.changed.exists())

    def status(self) -> int:
        return self.process.wait(LIMIT)


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program, given its argv; it is ended with the test."""
    started: list[Started] = []

    def begin(*argv: str, **popen: object) -> Started:
        started.append(Started(tmp_path, *argv, **popen))
        return started[-1]

    yield begin
    (tmp_path / "may-go").touch()
    for each in started:
        with suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(LIMIT)


Door = Callable[[Path], tuple[str, ...]]


def bench(tmp_path: Path, *options: str, patience: float = LIMIT) -> tuple[str, ...]:
    argv = (sys.executable, "-c", COMMAND, str(patience), "bench", "--lab=nested")
    where = (f"--run-dir={tmp_path}/run", f"--history={tmp_path}/history.db")
    return (*argv, *where, *options, "--", "-pchanging")


def against(tmp_path: Path) -> tuple[str, ...]:
    with open_history(str(tmp_path / "history.db")) as history:
        history.add(*make_run(1, paths=("sriov",), workloads=("tcp-tx",), seed=2), "main")
    return bench(tmp_path, "--against=main")


def own_door(tmp_path: Path) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "pytest", str(ROOT / "suites" / "comparison"), "--lab=nested")
    return (*argv, f"--run-dir={tmp_path}/run", "--no-history", "-pchanging")


@pytest.mark.parametrize(("door", "signum"), [(bench, signal.SIGINT), (against, signal.SIGHUP)])
def test_whatever_ends_a_run_it_answers_at_once_and_puts_back(
    door: Door, signum: signal.Signals, start: Start, tmp_path: Path
) -> None:
    run = start(*door(tmp_path))
    run.process.send_signal(signum)
    # After SIGHUP nobody is there to whom it could be said.
    heard = f"run/{LOG}" if signum == signal.SIGHUP else "output"
    run._poll("a word", (tmp_path / heard).exists)
    run.says(ANSWER, heard)
    for again in ENDING[:2]:
        run.process.send_signal(again)
    run.puts_back()
    run.says("put back", heard)
    assert run.status() == Status.INTERRUPTED, run.output()
    assert run.output(heard).count(ANSWER) == 1
    assert "baseline" not in run.output(heard), "an interrupted run is not judged"


def test_what_takes_longer_than_a_runner_has_patience_goes_on_by_itself(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEASURED", "yes")
    run = start(*bench(tmp_path, patience=0.2))
    assert run.tracked_by == "None", "a runner that cleans up does not find it"
    run.process.terminate()
    assert run.status() == Status.INTERRUPTED
    assert run.changed.exists()
    assert f"process {run.pid} goes on putting back what was changed: see {tmp_path}/run/{LOG}" in (
        run.output()
    )
    run.puts_back()
    run.says(f"report: {tmp_path}/run/report.html", f"run/{LOG}")
    run.says("history: synthetic-test-data", f"run/{LOG}")
    assert "put back" not in run.output()


def test_a_run_does_not_outlive_whoever_waits_for_it(start: Start, tmp_path: Path) -> None:
    run = start(*bench(tmp_path))
    run.process.kill()
    run._poll("a word", (tmp_path / "run" / LOG).exists)
    run.says(ANSWER, f"run/{LOG}")
    run.puts_back()
    run.says("put back", f"run/{LOG}")


@pytest.mark.parametrize("door", [bench, own_door])
def test_a_terminal_that_hangs_up_spoils_nothing(door: Door, start: Start, tmp_path: Path) -> None:
    """The session's leader is told by the kernel, and each who writes gets an error."""
    terminal, end = pty.openpty()
    streams = {"stdin": end, "stdout": end, "stderr": end}
    own = {"preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
    run = start(*door(tmp_path), **streams, **own)
    os.close(end)
    os.close(terminal)
    run._poll("a word", (tmp_path / "run" / LOG).exists)
    run.says(ANSWER, f"run/{LOG}")
    run.puts_back()
    run.says("put back", f"run/{LOG}")
    assert run.status() in (Status.INTERRUPTED, pytest.ExitCode.INTERRUPTED)


def test_who_was_told_to_ignore_a_hangup_does(start: Start, tmp_path: Path) -> None:
    """As nohup(1) tells it."""
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    run = start(*bench(tmp_path), **ignoring)
    run.process.send_signal(signal.SIGHUP)
    run.puts_back()
    assert run.status() == Status.OK, run.output()
    assert ANSWER not in run.output()


def test_a_run_that_is_killed_is_no_verdict(start: Start, tmp_path: Path) -> None:
    """As the kernel does for want of memory."""
    run = start(*bench(tmp_path))
    os.kill(int(run.pid), signal.SIGKILL)
    assert run.status() == Status.CRASHED
    assert "the run was ended by SIGKILL, which is no verdict" in run.output()
    assert "nicproof restore" in run.output()


@pytest.fixture
def handlers() -> Iterator[None]:
    """This process hears as a run does, also if it was started with SIGINT ignored, as what a shell
    runs in the background is; afterwards as before.

    Without garbage collection, whose callbacks (hypothesis has one) would swallow what the handler
    raises amid them.
    """
    before = {each: signal.signal(each, signal.SIG_DFL) for each in ENDING}
    gc.disable()
    unwind_when_told()
    yield
    gc.enable()
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("signum", ENDING[:2])
def test_an_undo_is_not_cut_short(signum: signal.Signals, tmp_path: Path) -> None:
    """Told amid the undo, and amid the writing down: neither is left in the journal."""
    journal = Journal(LocalHost(), "run-1", root=str(tmp_path / "journal"))
    knob, kill = tmp_path / "knob", f"kill -{signum.value} {os.getpid()}; sleep 0.2; "
    undo = UndoCommand(("sh", "-c", f"{kill} echo prior >{knob}"))
    with pytest.raises(KeyboardInterrupt), journal.change("turned the knob", [undo]):
        knob.write_text("new")
    assert knob.read_text() == "prior\n"
    journal.close()
    assert not Path(journal.directory).exists()


@pytest.mark.usefixtures("handlers")
def test_a_change_is_not_made_once_the_run_is_to_end(tmp_path: Path) -> None:
    class Telling(LocalHost):
        def write(self, path: str, data: bytes) -> None:
            super().write(path, data)
            os.kill(os.getpid(), signal.SIGTERM)

    journal = Journal(Telling(), "run-1", root=str(tmp_path / "journal"))
    with pytest.raises(KeyboardInterrupt), journal.change("turned the knob", []):
        pytest.fail("it was made")
    journal.close()
    assert not Path(journal.directory).exists()


@pytest.mark.usefixtures("handlers")
def test_the_first_signal_unwinds_once() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), deferred(), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
