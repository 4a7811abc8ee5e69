"""The QMP client against a real QEMU that emulates no machine at all (`-M none`)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, LabError
from harness.hosts.local import LocalHost, LocalProcess
from harness.qemu.qmp import QemuGone, Qmp, QmpError, vcpu_threads


@dataclass(frozen=True)
class Running:
    socket: str
    process: LocalProcess


@pytest.fixture
def qemu(tmp_path: Path, qemu_argv: tuple[str, ...]) -> Iterator[Running]:
    socket = tmp_path / "qmp.sock"
    argv = (*qemu_argv, "-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-S")
    with LocalHost().spawn((*argv, "-qmp", f"unix:{socket},server=on,wait=off")) as process:

        def listening() -> bool:
            assert process.poll() is None, process.result().error
            return socket.exists()

        Deadline(20, "QEMU's QMP socket").poll(listening)
        yield Running(str(socket), process)


def test_commands_are_answered(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        assert qmp.alive
        assert qmp.command("query-status")["status"] == "prelaunch"
        assert qmp.command("qom-get", path="/machine", property="type") == "none-machine"
        assert vcpu_threads(qmp) == ()
    with Qmp(qemu.socket) as again:
        assert again.command("query-version")["qemu"]["major"] >= 8


def test_a_refusal_names_command_class_and_reason(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        with pytest.raises(QmpError, match=r"no-such-thing.*CommandNotFound") as caught:
            qmp.command("no-such-thing")
        assert caught.value.error_class == "CommandNotFound"
        with pytest.raises(LabError, match="qom-get"):
            qmp.command("qom-get", path="/nowhere", property="type")
        assert qmp.command("query-status")["running"] is False


def test_events_wait_for_whoever_asks_for_them(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        qmp.command("cont")
        qmp.command("stop")
        assert qmp.wait_event({"STOP"}, 5).name == "STOP"
        resumed = qmp.wait_event({"RESUME", "SHUTDOWN"}, 5)
        assert resumed.name == "RESUME"
        assert abs(resumed.time - time.time()) < 60
        with pytest.raises(DeadlineExpired, match="RESUME"):
            qmp.wait_event({"RESUME"}, 0.2)
        assert qmp.command("query-status")["status"] == "paused"


def test_an_event_wakes_a_wait_under_way(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        later = threading.Timer(0.3, lambda: qmp.command("cont"))
        later.start()
        assert qmp.wait_event({"RESUME"}, 10).name == "RESUME"
        later.join()


def test_a_stopped_qemu_runs_into_the_deadline(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        os.kill(qemu.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExpired, match=r"query-status.*0\.3 s"):
                qmp.command("query-status", 0.3)
        finally:
            os.kill(qemu.process.pid, signal.SIGCONT)
        assert qmp.command("query-status")["status"] == "prelaunch"  # the late answer is dropped


def test_a_killed_qemu_is_gone(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        killer = threading.Timer(0.3, os.kill, (qemu.process.pid, signal.SIGKILL))
        killer.start()
        started = time.monotonic()
        with pytest.raises(QemuGone, match="gone"):
            qmp.wait_event({"SHUTDOWN"}, 30)
        assert time.monotonic() - started < 10
        with pytest.raises(QemuGone, match="query-status"):
            qmp.command("query-status")
        assert not qmp.alive


def test_quit_is_an_orderly_end(qemu: Running) -> None:
    with Qmp(qemu.socket) as qmp:
        qmp.command("quit")
        assert qmp.wait_event({"SHUTDOWN"}, 5).data["reason"] == "host-qmp-quit"
    assert qemu.process.wait(5).returncode == 0


def test_no_thread_is_left_behind(qemu: Running) -> None:
    before = set(threading.enumerate())
    with Qmp(qemu.socket):
        pass
    with pytest.raises(QemuGone, match=r"nobody\.sock"), Qmp(qemu.socket + ".nobody.sock"):
        pass
    assert set(threading.enumerate()) <= before
