"""QEMU's command line (golden) and the life of its process (a real QEMU without a machine)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import CommandFailed, ConfigError, LabError
from harness.guest.boot import PIN, pin
from harness.guest.image.kernel import payload
from harness.hosts.hugepages import pages
from harness.hosts.local import LocalHost
from harness.journal.journal import Entry, Journal
from harness.qemu.argv import GuestFiles
from harness.qemu.argv import qemu_argv as make_argv
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import DeployedImage, DiskImage, GuestConfig, Hugepages
from harness.qemu.process import QemuProcess, qemu_process
from harness.qemu.qmp import Qmp
from suites.selftest.support.rooted_host import RootedHost

MICRO = DeployedImage("/var/cache/g/kernel", "/var/cache/g/initrd", "console=ttyS0 quiet")
TAP = NicAttachment(
    path="virtio-vhost",
    mac="52:54:00:00:00:01",
    driver="virtio_net",
    device_args=("-netdev", "tap,id=n0,fd=3,vhost=on", "-device", "virtio-net-pci,netdev=n0"),
    fds=("/dev/tap7",),
)

GOLDEN = """
qemu-system-x86_64
-name b1-virtio,debug-threads=on
-nodefaults
-no-user-config
-display none
-no-reboot
-machine q35,sata=off,i8042=off,hpet=off,vmport=off,smbus=off
-accel kvm
-cpu host
-smp 1
-m 256
-kernel /var/cache/g/kernel
-initrd /var/cache/g/initrd
-append console=ttyS0 quiet
-chardev file,id=serial,path=/run/nicproof/b1-virtio/serial.log
-serial chardev:serial
-chardev socket,id=qmp,path=/run/nicproof/b1-virtio/qmp.sock,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev socket,id=agent,path=/run/nicproof/b1-virtio/agent.sock,server=on,wait=off
-chardev socket,id=edges,path=/run/nicproof/b1-virtio/edges.sock,server=on,wait=off
-device virtio-serial-pci,max_ports=3
-device virtserialport,chardev=agent,name=org.qemu.guest_agent.0
-device virtserialport,chardev=edges,name=nicproof.edges.0
-netdev tap,id=n0,fd=3,vhost=on
-device virtio-net-pci,netdev=n0
-daemonize
-pidfile /run/nicproof/b1-virtio/qemu.pid
-D /run/nicproof/b1-virtio/qemu.log
-d unimp
"""


def golden(text: str) -> tuple[str, ...]:
    """One option and its whole value per line."""
    lines = (line.split(" ", 1) for line in text.strip().splitlines())
    return tuple(word for line in lines for word in line)


def test_the_command_line_of_a_micro_guest() -> None:
    config = GuestConfig(MICRO, name="b1-virtio")
    assert make_argv(config, GuestFiles.of("b1-virtio"), (TAP,)) == golden(GOLDEN)


def test_a_guest_on_cpus_of_its_own_is_started_there() -> None:
    config = GuestConfig(MICRO, name="b1-virtio", cpus=(2, 3, 7))
    argv = make_argv(config, GuestFiles.of("b1-virtio"), (TAP,))
    assert argv == ("taskset", "--cpu-list", "2,3,7", *golden(GOLDEN))


def test_workers_of_vhost_are_found_and_pinned_where_they_are_the_kernels(tmp_path: Path) -> None:
    host = RootedHost(tmp_path, {"pgrep -x vhost-7": "41\n42\n"})
    process = QemuProcess(host, GuestFiles.of("guest"), 7)
    assert process.vhost_threads() == (41, 42)
    config = GuestConfig(MICRO, vcpus=2, cpus=(2, 3), vcpu_cpus=(4, 5))
    host.answers = {**host.answers, f"sh -c {PIN} sh 2,3 41 2,3 42 4 51 5 52": ""}
    pin(process, config, (51, 52))
    with pytest.raises(CommandFailed, match="53"):
        pin(process, config, (51, 53))
    assert QemuProcess(host, GuestFiles.of("guest"), 8).vhost_threads() == ()


@pytest.mark.parametrize(("node", "bound"), [(None, ""), (1, ",host-nodes=1,policy=bind")])
def test_a_guest_of_hugepages(node: int | None, bound: str) -> None:
    config = GuestConfig(MICRO, name="b1-virtio", hugepages=Hugepages(128, node))
    plain = make_argv(GuestConfig(MICRO, name="b1-virtio"), GuestFiles.of("b1-virtio"), (TAP,))
    argv = make_argv(config, GuestFiles.of("b1-virtio"), (TAP,))
    assert [word for word in argv if word not in plain] == [
        f"{config.machine},memory-backend=ram0",
        "-object",
        "memory-backend-memfd,id=ram0,size=256M,prealloc=on,hugetlb=on,hugetlbsize=2M" + bound,
    ]


def test_a_guest_that_is_larger_than_the_hugepages_is_refused() -> None:
    with pytest.raises(ConfigError, match="256 MiB takes 128 hugepages of 2 MiB of NUMA node 0"):
        GuestConfig(MICRO, hugepages=Hugepages(127, 0))


def test_qemu_says_so_if_the_hugepages_are_gone(qemu_argv: tuple[str, ...], tmp_path: Path) -> None:
    """This machine need not have any: what QEMU complains of shows what it understood."""
    there = pages(LocalHost())
    config = GuestConfig(MICRO, memory_mib=64, accel="tcg", cpu="max", qemu=qemu_argv)
    config = replace(config, image=DiskImage("/dev/null", "raw"), hugepages=Hugepages(32, 0))
    if there is None or there.free:
        pytest.skip("a machine with the hugepage size, and no free page")
    files = GuestFiles.of("huge", str(tmp_path))
    argv = make_argv(config, files, ())
    with (
        pytest.raises(LabError, match=r"QEMU refused to start: .*(memory|RAM)"),
        qemu_process(LocalHost(), argv, files),
    ):
        pass


def test_threads_are_pinned_one_by_one_for_real() -> None:
    """By what a host runs; this thread's own affinity, put back."""
    host, before = LocalHost(), os.sched_getaffinity(0)
    one = str(min(before))
    try:
        host.run(("sh", "-c", PIN, "sh", one, str(os.getpid())))
        assert os.sched_getaffinity(0) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)
    with pytest.raises(CommandFailed):
        host.run(("sh", "-c", PIN, "sh", one, "0x"))


def test_a_disk_image_is_never_written_to() -> None:
    config = GuestConfig(DiskImage("/i/a,b.qcow2", "qcow2"), extra_args=("-vga", "std"))
    argv = make_argv(config, GuestFiles.of("guest"), ())
    assert "file=/i/a,,b.qcow2,format=qcow2,if=none,id=disk0,snapshot=on" in argv
    assert "-kernel" not in argv and "-append" not in argv
    assert argv.index("std") < argv.index("-daemonize")


def test_only_one_nic_brings_open_files() -> None:
    with pytest.raises(ConfigError, match="only one"):
        make_argv(GuestConfig(MICRO), GuestFiles.of("guest"), (TAP, TAP))


def test_two_guests_of_one_name_have_files_of_their_own() -> None:
    assert GuestFiles.of("g", "/run", "a1").qmp == "/run/g-a1/qmp.sock"
    assert GuestFiles.of("g", "/run", "a1") != GuestFiles.of("g", "/run", "b2")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a,b", "a b", "x" * 49])
def test_names_that_are_no_file_names(name: str) -> None:
    with pytest.raises(ConfigError):
        GuestFiles.of(name)


def test_a_kernel_that_is_no_bzimage() -> None:
    with pytest.raises(LabError, match="no bzImage"):
        payload(b"\x7fELF" + bytes(1000))


@pytest.fixture
def bare(qemu_argv: tuple[str, ...], tmp_path: Path) -> tuple[GuestFiles, tuple[str, ...]]:
    files = GuestFiles.of("bare", str(tmp_path))
    argv = (*qemu_argv, "-nodefaults", "-no-user-config", "-display", "none", "-M", "none", "-S")
    more = ("-daemonize", "-pidfile", files.pidfile, "-D", files.stderr, "-d", "unimp")
    return files, (*argv, *more)


def alive(pid: int) -> bool:
    """Not counting a zombie that waits for whatever is process 1 here."""
    cmdline = Path(f"/proc/{pid}/cmdline")
    return cmdline.exists() and cmdline.read_bytes() != b""


def test_it_ends_with_its_context(bare: tuple[GuestFiles, tuple[str, ...]], tmp_path: Path) -> None:
    files, argv = bare
    inherited = tmp_path / "inherited"
    inherited.touch()
    with qemu_process(LocalHost(), argv, files, fds=(str(inherited),)) as process:
        assert alive(process.pid)
        assert Path(files.directory).stat().st_mode & 0o777 == 0o700
        assert os.readlink(f"/proc/{process.pid}/fd/3") == str(inherited)
        assert os.readlink(f"/proc/{process.pid}/fd/2") == files.stderr  # its words are kept
    assert not alive(process.pid)
    assert not Path(files.directory).exists()


def test_qemu_takes_the_command_line_of_a_disk(qemu_argv: tuple[str, ...], tmp_path: Path) -> None:
    disk = tmp_path / "a,disk.img"
    disk.write_bytes(bytes(1 << 20))
    disk.chmod(0o400)
    image = DiskImage(str(disk), "raw")
    config = GuestConfig(image, accel="tcg", cpu="max", qemu=qemu_argv, extra_args=("-S",))
    files = GuestFiles.of("disk", str(tmp_path))
    with (
        qemu_process(LocalHost(), make_argv(config, files, ()), files),
        Qmp(files.qmp) as qmp,
    ):
        (drive,) = qmp.command("query-block")
        assert drive["inserted"]["image"]["backing-image"]["filename"] == str(disk)


def test_it_ends_although_it_hangs(bare: tuple[GuestFiles, tuple[str, ...]]) -> None:
    files, argv = bare
    host = LocalHost()
    with qemu_process(host, argv, files) as process:
        host.run(("kill", "-STOP", str(process.pid)))
    assert not alive(process.pid)


def test_a_foreign_process_is_left_alone(bare: tuple[GuestFiles, tuple[str, ...]]) -> None:
    files, argv = bare
    host = LocalHost()
    with host.spawn(("sleep", "60")) as other:
        with qemu_process(host, argv, files) as process:
            host.run(("kill", "-KILL", str(process.pid)))
            Path(files.pidfile).write_text(f"{other.pid}\n")  # as if its number were used again
        assert other.poll() is None
    assert not Path(files.directory).exists()


def test_a_refusal_carries_its_words(bare: tuple[GuestFiles, tuple[str, ...]]) -> None:
    files, argv = bare
    host = LocalHost()
    with (
        pytest.raises(LabError, match=r"refused to start:.*no-such-option"),
        qemu_process(host, (*argv, "-no-such-option"), files),
    ):
        pass
    with (
        pytest.raises(LabError, match=r"refused to start:.*/no/such/tap"),
        qemu_process(host, argv, files, fds=("/no/such/tap",)),
    ):
        pass
    assert not Path(files.directory).exists()


def test_the_journal_ends_what_we_cannot(
    bare: tuple[GuestFiles, tuple[str, ...]], tmp_path: Path
) -> None:
    files, argv = bare
    host = LocalHost()
    journal = Journal(host, "test-qemu-process")
    journal.directory = str(tmp_path / "journal")  # not the machine's own
    with qemu_process(host, argv, files, journal=journal) as process:
        (path,) = host.glob(f"{journal.directory}/*")
        entry = msgspec.json.decode(host.read(path), type=Entry)
        for step in entry.undo:  # what harness.journal.journal.restore does after a crash
            step.apply(host)
        assert not alive(process.pid)
    assert host.glob(f"{journal.directory}/*") == ()
    assert not Path(files.directory).exists()
