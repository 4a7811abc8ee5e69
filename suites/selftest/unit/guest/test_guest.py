"""The micro guest, booted for real under emulation, and the guest agent as a Host."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import (
    CommandFailed,
    ConfigError,
    DeadlineExpired,
    GuestGone,
    LabError,
    MissingCapability,
    RunOver,
    StoreFailed,
)
from harness.guest.boot import Guest, boot, logs_kept
from harness.guest.image import cpio, elf
from harness.guest.image.micro import MODULES, build_guest_image, deploy, deploy_disk
from harness.hosts.local import LocalHost
from harness.hosts.program import PYTHON, require_python
from harness.paths import guest_drivers
from harness.qemu.argv import GuestFiles
from harness.qemu.config import DeployedImage, GuestConfig
from harness.qemu.process import QemuProcess

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def config(
    debian_root: Path, qemu_argv: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> GuestConfig:
    built = build_guest_image(debian_root, tmp_path_factory.mktemp("image"), guest_drivers())
    image = deploy(LocalHost(), built, str(tmp_path_factory.mktemp("cache")))
    return GuestConfig(image, accel="tcg", cpu="max", qemu=qemu_argv)


def test_the_image_is_named_by_its_content(debian_root: Path, tmp_path: Path) -> None:
    one, two = (
        build_guest_image(debian_root, tmp_path / name, guest_drivers()) for name in ("one", "two")
    )
    assert one.key == two.key
    assert one.initrd.read_bytes() == two.initrd.read_bytes()
    assert elf.is_elf(one.kernel.read_bytes())  # unpacked here, not in every boot


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def guest(config: GuestConfig, place: Path) -> Iterator[Guest]:
    nics = ("-device", "e1000e,romfile=", "-device", "virtio-net-pci,romfile=")
    config = dataclasses.replace(config, name="shared", extra_args=nics)
    with boot(LocalHost(), config, (), log_dir=place / "logs", run_directory=str(place)) as guest:
        yield guest


def test_commands_run_in_the_guest(guest: Guest) -> None:
    host = guest.host
    assert "Linux" in host.run(("uname", "-a")).text
    assert host.run(("cat",), stdin=b"\0\xff\n").stdout == b"\0\xff\n"
    failed = host.run(("sh", "-c", "echo out; echo err >&2; exit 3"), check=False)
    assert (failed.returncode, failed.text, failed.error) == (3, "out\n", "err\n")
    with pytest.raises(CommandFailed, match=r"shared: sh -c.*status 4"):
        host.run(("sh", "-c", "exit 4"))
    with pytest.raises(LabError, match=r"cannot start no-such-program"):
        host.run(("no-such-program",), check=False)
    assert host.run(("sh", "-c", "kill -9 $$"), check=False).returncode == -9
    assert host.run(("printf", "%s|", "a b", "$HOME", "")).text == "a b|$HOME||"


def test_a_command_that_takes_too_long_is_killed(guest: Guest) -> None:
    with pytest.raises(DeadlineExpired, match=r"sleep 97"):
        guest.host.run(("sh", "-c", "sleep 97; true"), timeout=0.5)
    assert "sleep 97" not in guest.host.run(("ps",)).text


def test_files_are_binary_safe(guest: Guest) -> None:
    host = guest.host
    data = bytes(range(256)) * 12_000  # 3 MB, more than one request carries
    host.write("/tmp/blob", data)
    assert host.read("/tmp/blob") == data
    assert host.run(("cat", "/tmp/blob")).stdout == data
    host.write("/tmp/blob", b"")
    assert host.read("/tmp/blob") == b""
    assert host.read("/proc/version").startswith(b"Linux version")
    host.write("/proc/sys/kernel/hostname", b"renamed\n")
    assert host.read("/proc/sys/kernel/hostname") == b"renamed\n"
    with pytest.raises(FileNotFoundError):
        host.read("/tmp/no-such-file")
    with pytest.raises(LabError, match="cannot write /no/such"):
        host.write("/no/such/file", b"")
    with pytest.raises(LabError, match="cannot write"):
        host.write("/proc/sys/vm/overcommit_memory", b"nonsense\n")


def test_paths_are_found(guest: Guest) -> None:
    host = guest.host
    assert host.exists("/proc/self") and host.exists("/etc/mtab")
    assert not host.exists("/no")
    host.write("/tmp/a b", b"")
    assert host.glob("/tmp/a*") == ("/tmp/a b",)
    assert host.glob("/nothing/*") == ()
    with pytest.raises(MissingCapability):
        host.forward("/run/x")


def test_a_spawned_command_ends_with_its_context(guest: Guest) -> None:
    host = guest.host
    with host.spawn(("sh", "-c", "echo ready; sleep 98")) as process:
        assert process.poll() is None
        assert "sleep 98" in host.run(("ps",)).text
        with pytest.raises(DeadlineExpired):
            process.wait(0.2)
    assert "sleep 98" not in host.run(("ps",)).text
    with host.spawn(("sh", "-c", "echo done; exit 5")) as process:
        result = process.wait(10)
        assert (result.returncode, result.text) == (5, "done\n")


def test_drivers_are_loaded_for_what_is_there(guest: Guest) -> None:
    links = guest.host.run(("ip", "-s", "-j", "link")).text
    assert '"ifname":"eth1"' in links
    bound = guest.host.glob("/sys/class/net/eth*/device/driver")
    names = {guest.host.run(("readlink", "-f", path)).text.strip().split("/")[-1] for path in bound}
    assert names == {"e1000e", "virtio_net"}
    loaded = guest.host.run(("lsmod",)).text
    assert "igbvf" not in loaded and "vmxnet3" not in loaded
    assert "Usage: iperf3" in guest.host.run(("iperf3", "--help")).text
    assert guest.host.run(("sh", "-c", "ip -j link show lo | head -c 1")).text == "["
    assert guest.host.run(("timeout", "5", "ip", "-j", "link")).text.startswith("[")
    assert "rx-checksumming" in guest.host.run(("ethtool", "-k", "eth0")).text


def test_programs_of_ours_run_in_the_guest(guest: Guest) -> None:
    require_python(guest.host)
    code = f"import {','.join(MODULES)}; print(json.dumps(sys.flags.isolated))"
    found = guest.host.run((*PYTHON, "-c", code))
    assert (found.text, found.error) == ("1\n", "")


def test_the_threads_of_the_vcpus_are_named(guest: Guest) -> None:
    (thread,) = guest.vcpu_tids
    comm = Path(f"/proc/{guest.qemu_pid}/task/{thread}/comm").read_text()
    assert comm.startswith("CPU 0/")


def test_late_answers_do_not_shift_the_conversation(guest: Guest) -> None:
    guest.qmp.command("stop")
    try:
        with pytest.raises(DeadlineExpired, match=r"shared.*guest-ping.*0\.3 s"):
            guest.host.agent.ask("guest-ping", 0.3)
    finally:
        guest.qmp.command("cont")
    assert guest.host.run(("echo", "still here")).text == "still here\n"


def test_the_end_of_qemu_is_noticed(config: GuestConfig, place: Path) -> None:
    config = dataclasses.replace(config, name="killed")
    host = LocalHost()
    with boot(host, config, (), log_dir=place / "logs", run_directory=str(place)) as guest:
        directory = Path(guest.process.files.directory)
        killer = threading.Timer(0.5, lambda: host.run(("kill", "-KILL", str(guest.qemu_pid))))
        killer.start()
        started = time.monotonic()
        with pytest.raises(GuestGone, match=r"killed.*sleep 60"):
            guest.host.run(("sleep", "60"), timeout=60)
        assert time.monotonic() - started < 10
        killer.join()
        assert "has ended" in guest.diagnosis()
    assert not directory.exists()
    assert (place / "logs" / "killed.serial.log").exists()


def test_a_panic_is_told_apart_from_silence(config: GuestConfig, tmp_path: Path) -> None:
    assert isinstance(config.image, DeployedImage)
    empty = tmp_path / "initrd"
    empty.write_bytes(cpio.pack((cpio.directory("dev"),)))
    image = dataclasses.replace(config.image, initrd=str(empty))
    config = dataclasses.replace(config, name="panic", image=image)
    with (
        pytest.raises(LabError, match=r"(?s)ended while it booted.*has ended.*Kernel panic"),
        boot(LocalHost(), config, (), log_dir=tmp_path, run_directory=str(tmp_path)),
    ):
        pass
    assert "Kernel panic" in (tmp_path / "panic.serial.log").read_text()


def test_a_guest_without_an_agent_runs_into_the_deadline(
    config: GuestConfig, tmp_path: Path
) -> None:
    assert isinstance(config.image, DeployedImage)
    append = f"{config.image.append} rdinit=/bin/cat"
    image = dataclasses.replace(config.image, append=append)
    config = dataclasses.replace(config, name="mute", image=image, extra_args=("-S",))
    started = time.monotonic()
    with (
        pytest.raises(DeadlineExpired, match=r"mute never answered within 2 s: its QEMU runs"),
        boot(LocalHost(), config, (), log_dir=tmp_path, deadline_s=2, run_directory=str(tmp_path)),
    ):
        pass
    assert time.monotonic() - started < 15
    assert not list(tmp_path.glob("mute-*"))


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("debian login: ", RunOver, r"(?s)booted, to a login, but no qemu-guest-agent.*remedy"),
        ("(initramfs) ", LabError, r"hung while it booted: its QEMU runs"),
    ],
)
def test_a_boot_without_an_agent_is_told_by_its_own_signs(
    words: str,
    error: type[LabError],
    message: str,
    config: GuestConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not by the deadline, which is five minutes for a disk image."""
    monkeypatch.setattr("harness.guest.boot.LOOK_AT_SERIAL", 0.2)
    monkeypatch.setattr("harness.guest.boot.AGENT_GRACE", 0.5)
    assert isinstance(config.image, DeployedImage)
    init = f"""rdinit=/bin/busybox -- sh -c "echo -n '{words}'; sleep 1000" """
    image = dataclasses.replace(config.image, append=f"{config.image.append} {init}")
    config = dataclasses.replace(config, name="agentless", image=image)
    with (
        pytest.raises(error, match=message) as caught,
        boot(LocalHost(), config, (), log_dir=tmp_path, run_directory=str(tmp_path)),
    ):
        pass
    assert not isinstance(caught.value, DeadlineExpired)


def test_what_qemu_says_when_it_refuses(config: GuestConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, name="refused", extra_args=("-device", "no-such-nic"))
    with (
        pytest.raises(LabError, match=r"refused to start:.*no-such-nic"),
        boot(LocalHost(), config, (), log_dir=tmp_path, run_directory=str(tmp_path)),
    ):
        pass
    assert not list(tmp_path.glob("refused-*"))


def test_disk_images_are_deployed_once(tmp_path: Path) -> None:
    image = tmp_path / "some.img"
    image.write_bytes(b"QFI\xfb" + bytes(100))
    disk = deploy_disk(LocalHost(), image, str(tmp_path / "cache"))
    assert disk.format == "qcow2" and Path(disk.path).read_bytes() == image.read_bytes()
    inode = Path(disk.path).stat().st_ino
    assert deploy_disk(LocalHost(), image, str(tmp_path / "cache")) == disk
    assert Path(disk.path).stat().st_ino == inode
    image.write_bytes(b"plain")
    assert deploy_disk(LocalHost(), image, str(tmp_path / "cache")).format == "raw"
    assert not list((tmp_path / "cache").glob("*.part"))
    with pytest.raises(ConfigError, match="nowhere"):
        deploy_disk(LocalHost(), tmp_path / "nowhere", str(tmp_path / "cache"))


def test_logs_that_cannot_be_kept_are_told_unless_there_is_worse(tmp_path: Path) -> None:
    """A file stands where the directory of logs would be, as no disk of ours is full."""
    files = GuestFiles.of("g", str(tmp_path))
    Path(files.directory).mkdir()
    for path in (files.serial, files.stderr):
        Path(path).write_text("boot\n")
    process, nowhere = QemuProcess(LocalHost(), files, 0), tmp_path / "file"
    nowhere.touch()
    refused = r"cannot keep the logs of guest g: .*\n  remedy: free"
    with pytest.raises(StoreFailed, match=refused), logs_kept(process, nowhere, "g"):
        pass
    with pytest.raises(GuestGone, match="worse"), logs_kept(process, nowhere, "g"):
        raise GuestGone("worse")
    with logs_kept(process, tmp_path / "logs", "g"):
        pass
    assert (tmp_path / "logs" / "g.serial.log").read_text() == "boot\n"
