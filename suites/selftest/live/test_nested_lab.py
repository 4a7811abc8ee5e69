"""The nested lab itself, started from its snapshot; and the ssh host against a real server."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import CommandFailed, DeadlineExpired, HostUnreachable, LabError
from harness.hosts.rundir import short_dir
from harness.hosts.ssh import SshHost
from harness.labs.nested import snapshot
from harness.labs.nested.lab import NestedLab, nested_machine, open_nested_lab
from harness.labs.nested.snapshot import Snapshot, SnapshotFailed
from harness.labs.nested.vm import running

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def host(lab: NestedLab) -> SshHost:
    return lab.host


def test_the_lab_has_what_a_lab_server_has(lab: NestedLab) -> None:
    for path in ("/dev/kvm", "/dev/vhost-net", "/dev/vfio/vfio", lab.guest.kernel):
        assert lab.host.exists(path), path
    groups = {
        lab.host.run(("readlink", f"/sys/bus/pci/devices/{bdf}/iommu_group")).text
        for bdf in (lab.ports.dut, lab.ports.partner)
    }
    assert len(groups) == 2
    assert lab.host.read(f"/sys/bus/pci/devices/{lab.ports.dut}/sriov_numvfs") == b"0\n"
    skew = abs(float(lab.host.run(("date", "+%s.%N")).text) - time.time())
    assert skew < 5, "a restored lab lives in the past"


def test_labs_from_one_snapshot_do_not_share_what_they_write(
    lab: NestedLab, tmp_path: Path
) -> None:
    with open_nested_lab(run_dir=tmp_path, progress=False) as other:
        other.host.write("/root/mine", b"other")
        assert not lab.host.exists("/root/mine")
        assert other.ssh_port != lab.ssh_port


def test_bytes_survive(host: SshHost) -> None:
    data = bytes(range(256)) * 5000
    host.write("/tmp/a file", data)
    assert host.read("/tmp/a file") == data
    assert host.glob("/tmp/a *") == ("/tmp/a file",)


def test_sysfs_keeps_its_words(host: SshHost) -> None:
    assert host.read("/sys/kernel/kexec_loaded") == b"0\n"
    with pytest.raises(LabError, match=r"Permission denied|Operation not permitted"):
        host.write("/sys/kernel/kexec_loaded", b"1")
    with pytest.raises(FileNotFoundError):
        host.read("/sys/kernel/nothing")


def test_statuses_are_told_apart(host: SshHost) -> None:
    with pytest.raises(CommandFailed) as raised:
        host.run(("sh", "-c", "echo why >&2; exit 255"))
    assert (raised.value.returncode, raised.value.stderr) == (255, "why\n")
    with pytest.raises(LabError, match="cannot start nonesuch"):
        host.run(("nonesuch",), check=False)


def test_a_late_command_dies_on_the_other_side(host: SshHost) -> None:
    with pytest.raises(DeadlineExpired, match="within 1 s"):
        host.run(("sleep", "61"), timeout=1)
    assert host.run(("pgrep", "-fx", "sleep 61"), check=False).returncode == 1


def test_a_spawned_command_ends_with_its_context(host: SshHost) -> None:
    with host.spawn(("sleep", "62")) as process:
        wait_for(lambda: host.run(("pgrep", "-fx", "sleep 62"), check=False).returncode == 0)
        assert process.poll() is None
    assert host.run(("pgrep", "-fx", "sleep 62"), check=False).returncode == 1


ECHO = (
    "import socket; s = socket.socket(socket.AF_UNIX); s.bind('/tmp/echo'); s.listen();"
    "c = s.accept()[0]; c.sendall(c.recv(99))"
)


def test_a_socket_is_forwarded(host: SshHost) -> None:
    with host.spawn(("python3", "-c", ECHO)), host.forward("/tmp/echo") as path:
        wait_for(lambda: host.exists("/tmp/echo"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(b"hello")
            assert client.recv(99) == b"hello"
    assert not Path(path).exists()


def test_a_state_that_qemu_refuses_is_quoted(lab: NestedLab, tmp_path: Path) -> None:
    junk = tmp_path / "junk.state"
    junk.write_bytes(b"no migration stream" * 100)
    with (
        short_dir() as sockets,
        running(nested_machine(progress=False), sockets, tmp_path / "log", incoming=True) as vm,
        pytest.raises(SnapshotFailed, match=r"junk\.state"),
    ):
        snapshot.load(vm.qmp, Snapshot(junk))
    assert lab.vm.process.poll() is None


def test_a_killed_lab_is_told_by_name(tmp_path: Path, lab: NestedLab) -> None:
    with open_nested_lab(run_dir=tmp_path, progress=False) as doomed:
        os.kill(doomed.qemu_pid, signal.SIGKILL)
        with pytest.raises(HostUnreachable, match="its QEMU ended with status -9"):
            doomed.host.run(("true",))
    lab.host.run(("true",))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
