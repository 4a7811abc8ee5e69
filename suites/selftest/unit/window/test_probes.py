"""Counters and probes, on text captured from a lab host (Linux 6.12, QEMU 10.0 with vhost)."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import LabError
from harness.records.trial import ExitCount
from harness.window.counters import (
    interrupt_counts,
    parse_cpu_time,
    parse_net_dev,
    thread_role,
)
from harness.window.drops import drops_probe
from harness.window.window import (
    Probe,
    Reading,
    WindowResult,
    combine,
    host_interface_probe,
    interrupts_probe,
    partner_probe,
    threads_probe,
)
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "proc"
NET_DEV = (DATA / "net_dev").read_text()
INTERRUPTS = (DATA / "interrupts").read_text()
THREADS = json.loads((DATA / "threads.json").read_text())


def window(before: dict[str, str], after: dict[str, str]) -> WindowResult:
    return WindowResult(before, after, 0, 1, "2026-01-01T00:00:00", 0, "", "", False)


def test_the_partners_counters_are_frames_on_the_wire() -> None:
    later = NET_DEV.replace("13226", "13326").replace("107511910", "107511911")
    result = window({"/proc/self/net/dev": NET_DEV}, {"/proc/self/net/dev": later})
    assert partner_probe("vp1").parse(result).counters == {
        "partner.rx_bytes": 1,
        "partner.rx_packets": 0,
        "partner.rx_missed": 0,
        "partner.tx_bytes": 0,
        "partner.tx_packets": 100,
    }


def test_net_dev_columns() -> None:
    assert parse_net_dev(NET_DEV, "vp1") == {
        "rx_bytes": 107511910,
        "rx_packets": 3503,
        "rx_missed": 0,
        "tx_bytes": 364468855,
        "tx_packets": 13226,
    }


@pytest.mark.parametrize(("columns", "missed"), [("7 9", 16), ("7 7", 7), ("0 9", 9)])
def test_what_a_driver_tells_twice_is_missed_once(columns: str, missed: int) -> None:
    """Of igb it is two numbers (MPC and RQDPC), of others one in both columns."""
    line = next(each for each in NET_DEV.splitlines() if each.strip().startswith("vp1:"))
    words = line.split()
    words[4:6] = columns.split()
    assert parse_net_dev(NET_DEV.replace(line, " ".join(words)), "vp1")["rx_missed"] == missed


def test_drops_of_a_hosts_interfaces_come_from_sysfs() -> None:
    probe = drops_probe({"port": "enp1s0", "tap": "tap0"})
    assert len(probe.read) == 8 and len(set(probe.read)) == 8
    before = dict.fromkeys(probe.read, "10\n")
    grown = {"rx_packets": 100, "rx_dropped": 5, "rx_missed_errors": 3, "rx_fifo_errors": 0}
    after = {path: f"{10 + grown[path.rpartition('/')[2]]}\n" for path in probe.read}
    after["/sys/class/net/tap0/statistics/rx_fifo_errors"] = "13\n"
    assert probe.parse(window(before, after)).counters == {
        "port.rx_packets": 100,
        "port.rx_missed": 8,
        "tap.rx_packets": 100,
        "tap.rx_missed": 8,  # the same three, told twice
    }


def test_an_alias_with_a_colon_is_an_interface_of_its_own() -> None:
    assert parse_net_dev(NET_DEV.replace("vp1:", "vp1:0:"), "vp1:0")["rx_packets"] == 3503
    with pytest.raises(LabError, match="no interface vp1"):
        parse_net_dev(NET_DEV.replace("vp1:", "vp1:0:"), "vp1")


@given(st.text() | st.integers(0, len(NET_DEV) - 1).map(lambda cut: NET_DEV[:cut]))
def test_a_strange_net_dev_raises_only_laberror(text: str) -> None:
    with suppress(LabError):
        assert parse_net_dev(text, "vp1").keys() == parse_net_dev(NET_DEV, "vp1").keys()


def test_host_interface_counters_come_from_sysfs() -> None:
    probe = host_interface_probe("enp1s0")
    assert all(path.startswith("/sys/class/net/enp1s0/statistics/") for path in probe.read)
    before = dict.fromkeys(probe.read, "10\n")
    after = dict(zip(probe.read, ("11\n", "12\n", "13\n", "14\n"), strict=True))
    assert probe.parse(window(before, after)).counters == {
        "host.rx_packets": 1,
        "host.tx_packets": 2,
        "host.rx_bytes": 3,
        "host.tx_bytes": 4,
    }


@pytest.mark.parametrize(
    ("comm", "role"),
    [
        ("CPU 0/KVM", "vcpu"),
        ("CPU 11/KVM", "vcpu"),
        ("CPU 0/TCG", "vcpu"),
        ("vhost-306", "vhost"),
        ("qemu-system-x86", "qemu"),
        ("IO mon_iothread", "qemu"),
        ("kvm-nx-lpage-re", "qemu"),
    ],
)
def test_threads_are_told_by_name(comm: str, role: str) -> None:
    assert thread_role(comm) == role


def test_cpu_time_goes_to_the_threads_role() -> None:
    result = window(THREADS["before"], THREADS["after"])
    assert threads_probe(306).parse(result).counters == {
        "cpu.vcpu_ns": 65446133681 - 65287834896,
        "cpu.vhost_ns": 5653907226 - 5605812695,
        "cpu.qemu_ns": 131756653567 - 131556814176,
    }


def test_threads_of_another_process_do_not_count() -> None:
    result = window(THREADS["before"], THREADS["after"])
    assert threads_probe(30).parse(result) == Reading()


def test_vhost_workers_that_are_kernel_threads_are_added() -> None:
    kernel = {"/proc/77/comm": "vhost-306\n"}
    result = window(
        {**THREADS["before"], **kernel, "/proc/77/schedstat": "5 0 1\n"},
        {**THREADS["after"], **kernel, "/proc/77/schedstat": "1005 0 1\n"},
    )
    probe = threads_probe(306, vhost_threads=(77,))
    assert probe.parse(result).counters["cpu.vhost_ns"] == 5653907226 - 5605812695 + 1000
    assert {"/proc/77/comm", "/proc/77/schedstat"} <= set(probe.read)


def test_a_thread_born_in_the_window_counts_from_zero_and_one_that_ended_is_left_out() -> None:
    gone = {key: text for key, text in THREADS["after"].items() if "/321/" not in key}
    born = {"/proc/306/task/999/comm": "worker\n", "/proc/306/task/999/schedstat": "7 0 1\n"}
    counters = threads_probe(306).parse(window(THREADS["before"], gone | born)).counters
    assert counters["cpu.qemu_ns"] == 131756653567 - 131556814176 + 7


def test_a_process_that_died_has_no_cpu_counters_instead_of_wrong_ones() -> None:
    assert threads_probe(306).parse(window(THREADS["before"], {})).counters == {}


@given(st.text())
def test_schedstat_is_a_number_or_a_laberror(text: str) -> None:
    with suppress(LabError):
        assert parse_cpu_time(text) >= 0


def test_interrupts_are_told_by_kind_and_summed_over_cpus() -> None:
    device = {"30", "31", "32"}
    assert interrupt_counts(INTERRUPTS, device) == {
        "device": 873 + 957,
        "timer": 120 + 1 + 549244 + 540753,  # the PIT, the CMOS clock, the local APICs
        "ipi": 3693 + 3950 + 26525 + 24341 + 16 + 22,
        "other": 9 + 5 + 144 + 709 + 556 + 6 + 6,
    }


def test_without_its_numbers_nothing_is_said_of_a_device() -> None:
    assert interrupt_counts(INTERRUPTS).keys() == {"timer", "ipi", "other"}


def test_the_captured_interrupts_add_up() -> None:
    numbers = 0
    for line in INTERRUPTS.splitlines()[1:]:
        for word in line.split(":", 1)[1].split()[:2]:
            numbers += int(word) if word.isdigit() else 0
    assert sum(interrupt_counts(INTERRUPTS).values()) == numbers > 10_000


@given(st.text(), st.text())
def test_any_text_has_a_sum(text: str, number: str) -> None:
    assert all(count >= 0 for count in interrupt_counts(text, {number}).values())


def test_all_of_a_hosts_interrupts_are_one_counter() -> None:
    path = "/proc/interrupts"
    head = "      CPU0\n"
    result = window(
        {path: f"{head} 28:  5  virtio0-req.0\n 29:  7  nvme\n"},
        {path: f"{head} 28:  9  virtio0-req.0\n 29:  8  nvme\n"},
    )
    assert interrupts_probe().parse(result).counters == {"irq.host": 5}


def test_a_file_that_is_gone_is_named() -> None:
    with pytest.raises(LabError, match="/proc/interrupts could not be read"):
        interrupts_probe().parse(window({}, {}))


def test_probes_combine_like_nested_contexts() -> None:
    exits = (ExitCount(reason="hlt", count=1, time_ns=2),)
    outer = Probe("a", lambda _: Reading({"a": 1}), read=("r",))
    inner = Probe("b", lambda _: Reading({"b": 2}, exits), read=("r", "s"), watch=("w",))
    both = combine([outer, inner])
    assert (both.read, both.watch) == (("r", "s"), ("w",))
    assert both.parse(window({}, {})) == Reading({"a": 1, "b": 2}, exits)
    assert combine([outer]).parse(window({}, {})).exits is None
    assert combine([]).parse(window({}, {})) == Reading()
