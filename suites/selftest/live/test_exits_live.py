"""Exit accounting on real kvm_exit events: two guests under KVM in the nested lab."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from harness.core.errors import LabError, MissingCapability
from harness.core.units import NS_PER_S
from harness.exits import accounting
from harness.exits.accounting import (
    BPFFS,
    PREFIX,
    Accounting,
    exit_accounting,
    require_exit_accounting,
)
from harness.guest.boot import Guest, boot
from harness.hosts.program import PYTHON
from harness.labs.base import Lab
from harness.qemu.config import GuestConfig
from harness.records.trial import ExitCount
from harness.window.window import (
    Command,
    Probe,
    Reading,
    WindowResult,
    WindowSpec,
    combine,
    interrupts_probe,
    run_window,
    threads_probe,
)
from harness.workloads.latency import Latency, measure_floor

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

READ_PORTS = ("sh", "-c", "while :; do dd if=/dev/port of=/dev/null bs=1 skip=128 count=32; done")
"""Reads I/O ports 0x80 to 0x9f (DMA pages), one at a time: each is an exit named "io" or
"IO_INSTRUCTION", which an idle guest has none of."""


@contextmanager
def booted(lab: Lab, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    config = GuestConfig(lab.guest, name=name)
    with boot(lab.host, config, (), log_dir=tmp_path_factory.mktemp(name)) as guest:
        yield guest


@pytest.fixture(scope="module")
def quiet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(lab, "quiet", tmp_path_factory) as guest:
        yield guest


@pytest.fixture(scope="module")
def second(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with booted(lab, "second", tmp_path_factory) as guest:
        yield guest


@pytest.fixture
def busy(second: Guest) -> Iterator[Guest]:
    """While a test lasts: it takes a CPU."""
    with second.host.spawn(READ_PORTS):
        yield second


def wait(seconds: float, *probes: Probe) -> WindowSpec:
    return WindowSpec.of(Command(("sleep", f"{seconds:g}")), probes)


def io_exits(exits: tuple[ExitCount, ...] | None) -> int:
    assert exits is not None
    return sum(each.count for each in exits if each.reason in ("io", "IO_INSTRUCTION"))


def leftovers(lab: Lab) -> list[str]:
    return list(lab.host.glob(f"{BPFFS}/{PREFIX}*"))


def test_only_the_guests_own_exits_count_and_only_inside_the_window(
    lab: Lab, quiet: Guest, busy: Guest
) -> None:
    with ExitStack() as stack:
        mine = stack.enter_context(exit_accounting(lab.host, quiet.vcpu_tids))
        other = stack.enter_context(exit_accounting(lab.host, busy.vcpu_tids))
        began = time.monotonic_ns()
        result = run_window(lab.host, wait(1.0, mine, other))
        elapsed = time.monotonic_ns() - began
        again = run_window(lab.host, wait(1.0, other))
    exits = {name: probe.parse(result).exits for name, probe in (("m", mine), ("o", other))}
    assert io_exits(exits["m"]) == 0
    assert io_exits(exits["o"]) > 20
    # The second window holds about as many as the first, though the counts go on.
    assert io_exits(other.parse(again).exits) < 4 * io_exits(exits["o"])
    for each in exits.values():
        assert each is not None
        assert sum(count.time_ns for count in each) <= elapsed
    assert leftovers(lab) == []


def test_as_many_exits_as_kvm_itself_has_counted(lab: Lab, busy: Guest) -> None:
    """KVM's own statistics know no reasons, but the sum has to agree: with what KVM had counted
    before and after our counts were read, at either edge."""
    (outer,) = lab.host.glob(f"/sys/kernel/debug/kvm/{busy.qemu_pid}-*/exits")
    inner = outer.replace("/kvm/", "/./kvm/")  # the same file, read in another place
    with exit_accounting(lab.host, busy.vcpu_tids) as exits:
        reads = (Probe(path, lambda _: Reading(), read=(path,)) for path in (outer, inner))
        result = run_window(lab.host, wait(1.0, next(reads), exits, next(reads)))
    counted = sum(each.count for each in exits.parse(result).exits or ())
    most, least = (int(result.after[path]) - int(result.before[path]) for path in (outer, inner))
    assert least > 100
    assert least - 10 <= counted <= most + 10


SECONDS = 5
"""In one of which the busy guest reads its ports: once it only faulted memory in, for a second."""


def test_several_vcpus_are_counted_together(lab: Lab, quiet: Guest, busy: Guest) -> None:
    """Threads of two guests, which to the programs are no other than two of one."""
    tids = (*quiet.vcpu_tids, *busy.vcpu_tids)
    with exit_accounting(lab.host, tids) as exits:
        for _ in range(SECONDS):
            result = run_window(lab.host, wait(1.0, exits))
            reading = exits.parse(result)
            if io_exits(reading.exits):
                break
    assert io_exits(reading.exits) > 20, reading.exits
    assert 0 < reading.counters["cpu.guest_ns"] < 2 * result.window_ns


SWITCH_NS = 4_000
"""What the scheduler charges a thread for each time it comes and goes, before or after the trace
event of the switch; in virtual time some 2 us."""

TICK_NS = 4_000_000
"""A running thread's schedstat is as old as its last tick, at most 1 s / CONFIG_HZ (250)."""


def charged_probe(tids: tuple[int, ...]) -> Probe:
    """charged_ns: CPU time of these threads as the scheduler charges it, by paths of which
    `threads_probe` reads none."""
    paths = tuple(f"/proc/{tid}/schedstat" for tid in tids)

    def parse(result: WindowResult) -> Reading:
        before, after = (
            sum(int(texts[path].split()[0]) for path in paths)
            for texts in (result.before, result.after)
        )
        return Reading({"charged_ns": after - before})

    return Probe("charged", parse, read=paths)


def test_time_on_a_cpu_by_reason_is_what_the_scheduler_charges(
    lab: Lab, quiet: Guest, busy: Guest
) -> None:
    """Asleep nearly all the time, or busy beside a process that wants the CPU as well: then the
    vCPU is preempted, in exits, and what it waits is in their time and not in their CPU time.

    On a busy machine the files of an edge are read tens of milliseconds apart: what the scheduler
    charges is read both before and after the exits at either edge."""
    spin = "timeout 0.6 taskset -c 0 sh -c 'while :; do :; done'; sleep 0.2"
    rival = Command(("sh", "-c", spin))
    for guest in (quiet, busy):
        for tid in guest.vcpu_tids:
            lab.host.run(("taskset", "-p", "-c", "0", str(tid)))
        threads = threads_probe(guest.qemu_pid)
        with exit_accounting(lab.host, guest.vcpu_tids) as exits:
            probes = combine((threads, exits, charged_probe(guest.vcpu_tids)))
            reading = probes.parse(run_window(lab.host, WindowSpec.of(rival, (probes,))))
        counters, found = reading.counters, reading.exits or ()
        spent = [each.cpu_ns for each in found if each.cpu_ns is not None]
        assert len(spent) == len(found)
        assert all(0 <= cpu <= each.time_ns for cpu, each in zip(spent, found, strict=True))
        total = sum(spent) + counters["cpu.guest_ns"]
        longest, shortest = counters["cpu.vcpu_ns"], counters["charged_ns"]
        bound = 0.02 * longest + SWITCH_NS * sum(each.count for each in found) + 2 * TICK_NS
        assert shortest - bound <= total <= longest + bound
        elapsed = sum(each.time_ns for each in found) + counters["cpu.guest_ns"]
        assert elapsed <= counters["vcpus.window_ns"]
    # Of the CPU both had their part.
    assert elapsed - total > NS_PER_S / 10


def test_a_guest_that_halts_spends_next_to_nothing_on_it(lab: Lab, quiet: Guest) -> None:
    """What was painted as exits of other reasons, though nearly all of it is sleep."""
    with exit_accounting(lab.host, quiet.vcpu_tids) as exits:
        reading = exits.parse(run_window(lab.host, wait(2.0, exits)))
    (halt,) = (each for each in reading.exits or () if each.reason.lower() == "hlt")
    assert halt.cpu_ns is not None
    assert halt.cpu_ns < 0.3 * halt.time_ns


def test_a_kernel_that_refuses_is_quoted(lab: Lab, quiet: Guest) -> None:
    """The loader asks for a field that lies outside of the event."""
    _, event = accounting.exit_event(lab.host)
    outside = re.sub(r"(exit_reason;\s*offset:)\d+", r"\g<1>4096", event)
    own = Accounting(quiet.vcpu_tids)
    with pytest.raises(MissingCapability, match=r"does not let exits be counted: .*kvm_exit"):
        accounting._load(lab.host, own.directory, own.vcpu_tids, outside)
    assert leftovers(lab) == []


UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""What runs by it has no capability, so the kernel refuses it BPF, as root of a container."""


def test_what_the_kernel_takes_is_tried_and_leaves_no_trace(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_exit_accounting(lab.host)
    assert leftovers(lab) == []
    monkeypatch.setattr(accounting, "PYTHON", (*UNPRIVILEGED, *PYTHON))
    with pytest.raises(MissingCapability, match="BTF: Operation not permitted"):
        require_exit_accounting(lab.host)


def test_a_loader_that_fails_is_no_refusal_of_the_kernel(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "_loader_source", lambda: "def main(spec): 1 / 0")
    with pytest.raises(LabError, match="ZeroDivisionError"):
        require_exit_accounting(lab.host)


def test_an_idle_guest_halts_nearly_all_the_time(lab: Lab, quiet: Guest) -> None:
    threads = threads_probe(quiet.qemu_pid)
    with exit_accounting(lab.host, quiet.vcpu_tids) as exits:
        began = time.monotonic_ns()
        result = run_window(lab.host, wait(2.0, exits, threads, interrupts_probe()))
        elapsed = time.monotonic_ns() - began
    counted = exits.parse(result).exits
    assert counted is not None
    halted = sum(each.time_ns for each in counted if each.reason.lower() == "hlt")
    assert 0.3 * result.window_ns < halted <= elapsed
    spent = threads.parse(result).counters
    assert 0 < spent["cpu.vcpu_ns"] < 0.7 * result.window_ns
    assert interrupts_probe().parse(result).counters["irq.host"] > 0


def test_what_a_killed_run_left_behind_is_replaced(lab: Lab, quiet: Guest) -> None:
    mine, dead = Accounting(quiet.vcpu_tids), Accounting((4_000_000,))  # above any pid_max
    with exit_accounting(lab.host, quiet.vcpu_tids):
        lab.host.run(("mkdir", dead.directory))
        with exit_accounting(lab.host, quiet.vcpu_tids) as exits:
            assert not lab.host.exists(dead.directory)
            assert lab.host.exists(mine.directory)
            assert exits.parse(run_window(lab.host, wait(0.5, exits))).exits
    assert leftovers(lab) == []


def test_a_guest_that_dies_in_the_window_is_reported_and_leaves_nothing(
    lab: Lab, second: Guest
) -> None:
    """The last test that has this guest."""
    with exit_accounting(lab.host, second.vcpu_tids) as exits, ThreadPoolExecutor() as pool:
        threads = threads_probe(second.qemu_pid)
        window = pool.submit(run_window, lab.host, wait(4.0, exits, threads))
        lab.host.run(("sleep", "2"))
        lab.host.run(("kill", "-KILL", str(second.qemu_pid)))
        result = window.result()
        assert exits.parse(result).exits
        assert any(path.endswith("/schedstat") for path in result.vanished)
        assert "cpu.vcpu_ns" not in threads.parse(result).counters
    assert leftovers(lab) == []


def test_the_probers_floor_in_the_lab(lab: Lab) -> None:
    round_trips = measure_floor(lab.host, Latency(count=100, warmup=10)).rtt_ns
    assert len(round_trips) == 100 and min(round_trips) > 0
