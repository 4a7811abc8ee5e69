"""Several CPUs by the virtual clock, seen from inside L1: their times go on side by side, at most a
quantum apart, whoever looks and wherever he runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.core.deadline import Deadline
from harness.guest.image import cpio, initramfs
from harness.hosts.local import LocalHost
from harness.labs.nested import accel, choosing
from harness.labs.nested.accel import QUANTUM_NS, Accelerator
from harness.labs.nested.image import current_image, is_built
from harness.labs.nested.lab import NestedLab, open_nested_lab, started
from harness.labs.nested.probe import probe_argv
from harness.labs.shape import MOST_CPUS, SMP_CPUS, LabShape

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

TSC = """
import ctypes, mmap, os, sys, time
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("0f3148c1e2204809d0c3"))  # rdtsc; shl rdx, 32; or rax, rdx; ret
tsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

def on(cpu):
    os.sched_setaffinity(0, {cpu})
"""
"""The time stamp counter, 1 GHz there, without whatever Linux makes of it."""

LOOP = f"""{TSC}
def loop():
    for _ in range(5_000_000): pass
on(int(sys.argv[1]))
begin = tsc()
loop()
print(tsc() - begin)
"""
"""A thousand million instructions, about. In a function: a global name takes as many as its hash,
which is another one in each process, has neighbours."""

MIGRATING = f"""{TSC}
last, least = tsc(), 0
for turn in range(2000):
    on(turn % 4)
    now = tsc()
    least, last = min(least, now - last), now
print(least)
"""
"""By how much the counter seems to run back, at the most, to who is moved from CPU to CPU."""

WAKING = f"""{TSC}
down, up = os.pipe(), os.pipe()
if os.fork() == 0:
    on(3)
    os.close(down[1])
    while sent := os.read(down[0], 32):
        os.write(up[1], b"%d" % (tsc() - int(sent)))
    os._exit(0)
on(2)
for _ in range(100):
    time.sleep(0.002)  # the other one's CPU halts
    os.write(down[1], b"%d" % tsc())
    print(os.read(up[0], 32).decode())
os.close(down[1])
"""
"""How long a write takes to wake a process on another CPU, which is halted: by an IPI."""

WAKE_LIMIT_NS = 200_000
"""Ten times what Linux and Python take for it; a tick, or a slice of another CPU, is longer."""

COLD = 10
"""Wakes in which either end touches what it has not touched before."""

OTHERS = 3
"""Wakes, of the rest, that may find that Linux has something of its own to do on that CPU."""


@pytest.fixture(scope="module")
def smp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedLab]:
    """A lab as `nicproof lab up` starts one. None is built for its sake, `make test` has done that
    if it can be done here."""
    if not is_built() or not choosing.usual(current_image(), accel.SMP).qemu_is_built:
        pytest.skip("a QEMU from source (make it with: nicproof lab build)")
    shape = LabShape("virtual-smp", follows=True)
    with open_nested_lab(shape, run_dir=tmp_path_factory.mktemp("smp"), progress=False) as lab:
        yield lab


def run(lab: NestedLab, program: str, *arguments: str) -> list[int]:
    """The numbers that a program prints in L1."""
    argv = ("python3", "-I", "-S", "-c", program, *arguments)
    return [int(word) for word in lab.host.run(argv, timeout=120).text.split()]


def test_what_one_cpu_executes_takes_no_time_of_another(smp: NestedLab) -> None:
    """Nor does a CPU that halts."""
    assert smp.lab_cpus == SMP_CPUS
    (alone,) = run(smp, LOOP, "1")
    with ExitStack() as stack:
        several = [
            stack.enter_context(smp.host.spawn(("python3", "-I", "-S", "-c", LOOP, str(cpu))))
            for cpu in range(SMP_CPUS)
        ]
        at_once = [int(each.wait(120.0).checked().text) for each in several]
    assert 0.9 * alone < min(at_once) and max(at_once) < 1.15 * alone, (alone, at_once)


def test_the_tsc_runs_back_by_a_quantum_at_the_most(smp: NestedLab) -> None:
    with ExitStack() as stack:
        for cpu in range(SMP_CPUS):
            spin = ("taskset", "-c", str(cpu), "sh", "-c", "while :; do :; done")
            stack.enter_context(smp.host.spawn(spin))
        (least,) = run(smp, MIGRATING)
    assert least >= -QUANTUM_NS
    source = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    assert smp.host.read(source) == b"tsc\n", "Linux's own check of it was passed"


def test_an_ipi_wakes_a_halted_cpu_when_it_was_sent(smp: NestedLab) -> None:
    waits = sorted(run(smp, WAKING)[COLD:])
    assert len(waits) == 100 - COLD
    assert waits[0] >= -QUANTUM_NS and waits[-1 - OTHERS] < WAKE_LIMIT_NS, waits[-9:]


def test_everything_that_is_placed_has_its_cpu(smp: NestedLab) -> None:
    assert smp.cpus == (2, 3, 4) and smp.partner_port.cpus == (0, 1)
    ours = smp.host.run(("sh", "-c", "grep Cpus_allowed_list /proc/1/status /proc/self/status"))
    assert [line.split()[-1] for line in ours.text.splitlines()] == ["0-1", "0-1"]
    assert int(smp.host.read("/proc/irq/default_smp_affinity"), 16) == 1


@pytest.mark.long
def test_sixteen_cpus_boot(smp: NestedLab, tmp_path: Path) -> None:
    machine = choosing.usual(smp.image, Accelerator("tcg", "virtual-smp", MOST_CPUS))
    with started(machine, tmp_path) as lab:
        assert lab.host.run(("nproc", "--all")).text.strip() == str(MOST_CPUS)
        source = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        assert lab.host.read(source) == b"tsc\n"
        assert "5-15" in lab.host.read("/proc/cmdline").decode()


DAY = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox cat /proc/uptime
/bin/busybox sleep 86400
/bin/busybox cat /proc/uptime
/bin/busybox poweroff -f
"""


@pytest.mark.long
def test_a_day_without_work_passes_in_minutes(smp: NestedLab, tmp_path: Path) -> None:
    """It took two here: the clock jumps from timer to timer."""
    initrd = tmp_path / "initrd"
    init = cpio.file("init", DAY.encode(), 0o755)
    skeleton = (*initramfs.skeleton(), *initramfs.busybox(smp.image.root, ()))
    initrd.write_bytes(cpio.pack((*skeleton, cpio.directory("proc"), init)))
    machine = choosing.usual(current_image(), accel.SMP)
    serial = tmp_path / "serial"
    argv = probe_argv(machine.toolchain, machine.accel.argv, initrd)
    argv = tuple(word.replace("q35", "q35,hpet=off") for word in argv)
    deadline = Deadline(540.0, "the end of a virtual day")
    with LocalHost().spawn((*argv, "-serial", f"file:{serial}")) as qemu:
        deadline.poll(lambda: qemu.poll() is not None, interval=0.5)
    lines = [line.split() for line in serial.read_text().splitlines()]
    first, last = (float(line[0]) for line in lines if len(line) == 2)
    assert 86400 <= last - first < 86410
