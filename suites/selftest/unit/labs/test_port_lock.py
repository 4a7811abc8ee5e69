"""Locks of ports, taken for real on this machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, DeadlineExpired, LabError
from harness.hosts.guard import guarded
from harness.hosts.local import LocalHost, PipedProcess
from harness.labs.real import lock, lock_agent
from harness.labs.real.lock import Owner, fence, host_lock, owners, port_lock

BDF = "0000:01:00.0"
ONE = Owner("run-1", "ada@alpha", "2026-11-26T20:00:00+00:00")
TWO = Owner("run-2", "bob@beta", "2026-11-26T21:00:00+00:00")


class AsOverSsh(LocalHost):
    """Its programs are started as the ssh host starts them, with a local shell for the remote."""

    @contextmanager
    def spawn(self, argv: Sequence[str]) -> Iterator[PipedProcess]:
        with closing(PipedProcess(self.name, guarded(argv))) as process:
            yield process


def taken(directory: Path, owner: Owner, bdf: str = BDF) -> None:
    with port_lock(LocalHost(), bdf, owner, directory=str(directory)):
        pass


def test_a_second_taker_is_told_who_has_the_port(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    with port_lock(LocalHost("alpha"), BDF, ONE, directory=str(locks)):
        with pytest.raises(ConfigError) as refused:
            taken(locks, TWO)
        assert "0000:01:00.0 is in use by run run-1 of ada@alpha, since 2026-11-26T20" in str(
            refused.value
        )
        with pytest.raises(ConfigError):
            taken(locks, ONE)
        taken(locks, TWO, "0000:02:00.0")
    taken(locks, TWO)
    assert msgspec.json.decode((locks / BDF).read_bytes())["run"] == "run-2"


def test_who_holds_a_lock_is_told_while_it_is_held(tmp_path: Path) -> None:
    locks = str(tmp_path / "locks")
    assert owners(LocalHost(), directory=locks) == ()
    taken(tmp_path / "locks", TWO, "0000:02:00.0")
    with (
        port_lock(LocalHost(), BDF, ONE, directory=locks),
        host_lock(LocalHost(), ONE, directory=locks),
    ):
        assert [owner.run for owner in owners(LocalHost(), directory=locks)] == ["run-1", "run-1"]
        with (
            pytest.raises(ConfigError, match="the host is in use by run run-1 of ada@alpha"),
            host_lock(LocalHost("alpha"), TWO, directory=locks),
        ):
            pass
    assert owners(LocalHost(), directory=locks) == ()


def test_a_look_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as taking, (tmp_path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not lock_agent.locked(taking.fileno())
        done = threading.Timer(0.02, fcntl.flock, (looking, fcntl.LOCK_UN))
        done.start()
        assert lock_agent.locked(taking.fileno())
        done.join()


def test_locks_that_cannot_be_looked_at_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError, match="locks cannot be looked at"):
        owners(LocalHost(), directory=str(tmp_path))
    locks = tmp_path / "locks"
    locks.mkdir()
    with (locks / BDF).open("w") as taking:
        fcntl.flock(taking, fcntl.LOCK_EX)
        taking.write("{half")
        taking.flush()
        with pytest.raises(LabError, match="a lock is being taken"):
            owners(LocalHost(), directory=str(locks))


def test_locks_are_their_owners_business(tmp_path: Path) -> None:
    taken(tmp_path / "locks", ONE)
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "locks" / BDF).stat().st_mode & 0o777 == 0o600


def test_links_that_somebody_laid_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / BDF).symlink_to(victim)
    with pytest.raises(LabError, match="cannot be locked"):
        taken(locks, ONE)
    (tmp_path / "link").symlink_to(locks)
    with pytest.raises(LabError, match="cannot be locked"):
        taken(tmp_path / "link", ONE, "0000:02:00.0")
    assert victim.read_text() == "precious"


def test_a_directory_of_somebody_else_is_no_place_for_locks(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a directory away needs root")
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(LabError, match="belongs to somebody else"):
        taken(tmp_path, ONE)


def test_a_host_without_python_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "program", lambda *_: ("false",))
    with pytest.raises(LabError, match="cannot be locked: it said nothing"):
        taken(tmp_path / "locks", ONE)


HOLD = """
import sys
from harness.hosts.local import LocalHost
from harness.labs.real.lock import Owner, port_lock
from suites.selftest.unit.labs.test_port_lock import AsOverSsh
host = {"LocalHost": LocalHost, "AsOverSsh": AsOverSsh}[sys.argv[3]]()
with port_lock(host, sys.argv[1], Owner("run-0", "eve@gamma", "now"), directory=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_ends_with_the_connection(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    with (
        port_lock(AsOverSsh(), BDF, ONE, directory=str(locks)),
        pytest.raises(ConfigError, match="run-1 of ada@alpha"),
    ):
        taken(locks, TWO)
    taken(locks, TWO)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("host", ["LocalHost", "AsOverSsh"])
def test_the_lock_ends_with_a_holder_that_is_killed(
    tmp_path: Path, death: signal.Signals, host: str
) -> None:
    locks = tmp_path / "locks"
    argv = (sys.executable, "-c", HOLD, BDF, str(locks), host)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="run-0 of eve@gamma"):
            taken(locks, TWO)
        holder.send_signal(death)
        holder.wait(5)
        _soon(locks)


def _soon(locks: Path) -> None:
    """The holder's program notices the death of its parent, at once but not in no time."""
    end = time.monotonic() + 5
    while True:
        try:
            return taken(locks, TWO)
        except ConfigError:
            assert time.monotonic() < end, "the lock outlived its holder"
            time.sleep(0.05)


def test_a_wait_for_the_lock_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = (sys.executable, "-c", "import time; time.sleep(60)")
    monkeypatch.setattr(lock, "program", lambda *_: idle)
    monkeypatch.setattr(lock, "LIMIT", 0.2)
    with pytest.raises(DeadlineExpired, match=r"the lock of port 0000:01:00\.0"):
        taken(tmp_path / "locks", ONE)


HOLDER = """
import sys
from harness.hosts.local import LocalHost
from harness.labs.real.lock import Owner, host_lock, port_lock

host, owner, directory = LocalHost(), Owner("run-1", "ada@alpha", "now"), sys.argv[1]
with host_lock(host, owner, directory=directory):
    with port_lock(host, "0000:01:00.0", owner, directory=directory):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_run_that_is_fenced_loses_its_connection_and_its_locks(tmp_path: Path) -> None:
    """The run is a process of this machine, so its end of the connection is the process itself."""
    locks, host = str(tmp_path / "locks"), LocalHost("alpha")
    argv = (sys.executable, "-c", HOLDER, locks)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"held\n"
        with port_lock(host, "0000:02:00.0", TWO, directory=locks):
            with pytest.raises(ConfigError, match="alpha: no run run-3 is at work there"):
                fence(host, "run-3", directory=locks)
            assert run.poll() is None
            fence(host, "run-1", directory=locks)
            assert run.wait(10) == -signal.SIGKILL
            Deadline(10, "the end of its locks").poll(
                lambda: [owner.run for owner in owners(host, directory=locks)] == ["run-2"]
            )
