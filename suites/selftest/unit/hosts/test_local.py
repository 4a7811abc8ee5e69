"""The local host and its short directories: nothing is left running, nobody else is touched."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, LabError
from harness.hosts import local, rundir
from harness.hosts.local import LocalHost
from harness.hosts.rundir import LOCK, PREFIX, short_dir

NAME = "np-behind"

BEHIND = (
    *(sys.executable, "-c"),
    f"import signal, sys, time; open('/proc/self/comm', 'w').write({NAME!r})\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[1:] else signal.SIG_DFL)\n"
    "open('/dev/stderr', 'w').write('there'); time.sleep(60)",
)


def is_there() -> bool:
    return LocalHost().run(("pgrep", "-r", "D,R,S", "-x", NAME), check=False).returncode == 0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE", 0.5)


@pytest.mark.parametrize("stubborn", [(), ("stubborn",)])
@pytest.mark.parametrize("shell", ['"$@" &', '"$@" & wait'])
def test_a_command_that_times_out_leaves_nothing_in_the_background(
    shell: str, stubborn: tuple[str, ...]
) -> None:
    """The shell has ended or not, what is in its background heeds SIGTERM or not."""
    with pytest.raises(DeadlineExpired):
        LocalHost().run(("sh", "-c", shell, "sh", *BEHIND, *stubborn), timeout=2)
    assert not is_there()


def test_a_process_that_has_ended_leaves_nothing_in_the_background() -> None:
    with LocalHost().spawn(("sh", "-c", '"$@" & exit 7', "sh", *BEHIND)) as process:
        assert process.wait(10).returncode == 7
        assert process.poll() == 7
        Deadline(10, "what is in the background").poll(is_there)
    assert process.poll() == 7
    assert not is_there()


def test_the_status_of_a_process_is_its_own_or_the_signal_that_ended_it() -> None:
    with LocalHost().spawn(("sleep", "60")) as process:
        assert process.poll() is None
        with pytest.raises(DeadlineExpired):
            process.wait(0.05)
        process.terminate()
        assert process.poll() == -15
        assert process.wait(0).returncode == -15


def test_a_file_that_cannot_be_read_is_an_error_of_the_rig(tmp_path: Path) -> None:
    host = LocalHost("alpha")
    with pytest.raises(LabError, match=f"alpha: cannot read {tmp_path}: Is a directory"):
        host.read(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        host.read(str(tmp_path / "none"))


def test_commands_speak_one_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert LocalHost().run(("sh", "-c", "echo $LC_ALL")).text == "C\n"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where short directories are made."""
    monkeypatch.setattr(rundir, "_base", lambda: tmp_path)
    return tmp_path


def test_short_directories_are_private_and_swept(base: Path) -> None:
    with short_dir() as mine:
        dead = base / f"{PREFIX}selftest-dead"
        dead.mkdir()
        (dead / "alive").touch()
        assert mine.stat().st_mode & 0o777 == 0o700
        with short_dir():
            assert mine.exists(), "a directory in use was swept"
            assert not dead.exists()
    assert not mine.exists()


def test_a_short_directory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/{'x' * 60}")
    with short_dir() as mine:
        assert len(str(mine)) < 70


def test_a_directory_is_not_swept_between_its_making_and_its_lock(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run looks just before the lock is taken."""
    take = fcntl.flock

    def late(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", take)
            rundir._sweep(base)
        take(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with short_dir() as mine:
        assert (mine / LOCK).exists()


def test_a_link_in_place_of_a_lock_is_not_followed(base: Path) -> None:
    """Anybody may lay one in /tmp, to a file of root's."""
    precious, laid, other = base / "precious", base / f"{PREFIX}laid", base / f"{PREFIX}other"
    precious.touch()
    laid.mkdir()
    (laid / LOCK).symlink_to(precious)
    (base / LOCK).touch()
    other.symlink_to(base)
    with short_dir():
        assert laid.exists() and other.is_symlink() and precious.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_directory_of_somebody_else_is_left_to_him(base: Path) -> None:
    theirs = base / f"{PREFIX}theirs"
    theirs.mkdir()
    (theirs / LOCK).touch()
    for path in (theirs, theirs / LOCK):
        os.chown(path, 65534, 65534)
    with short_dir():
        assert theirs.exists()
    os.chown(theirs / LOCK, 0, 0)
    with short_dir():
        assert theirs.exists()
