"""Counters of the endpoint, from text that a real kernel printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LabError
from harness.measure.endpoint import parse_snapshot

TEXT = (Path(__file__).parent / "data" / "endpoint-snapshot.txt").read_text()


SNMP = "/proc/net/snmp:Tcp:"


def expected_interrupts() -> int:
    """Column sums as awk would make them, apart from the parser under test."""
    lines = [line for line in TEXT.splitlines() if "/proc/interrupts" in line][1:]
    rows = [line.split(":", 2)[2].split()[:2] for line in lines]
    return sum(int(word) for row in rows for word in row if word.isdigit())


def retransmitted() -> int:
    head, row = (line.split()[1:] for line in TEXT.splitlines() if line.startswith(SNMP))
    return int(dict(zip(head, row, strict=True))["RetransSegs"])


def test_a_snapshot_holds_the_interface_the_cpu_and_the_interrupts() -> None:
    line = next(line for line in TEXT.splitlines() if "eth0:" in line)
    columns = [int(word) for word in line.rpartition(":")[2].split()]
    cpu = next(line for line in TEXT.splitlines() if line.startswith("/proc/stat:cpu "))
    ticks = [int(word) for word in cpu.split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = ticks
    assert parse_snapshot(TEXT, "eth0") == {
        "guest.rx_bytes": columns[0],
        "guest.rx_packets": columns[1],
        "guest.tx_bytes": columns[8],
        "guest.tx_packets": columns[9],
        "guest.retransmitted": retransmitted(),
        "guest.udp_dropped": 0,
        "guest.cpu_busy_ns": (user + nice + system + irq + softirq) * 10_000_000,
        "guest.cpu_total_ns": sum(ticks) * 10_000_000,
        "irq.guest": expected_interrupts(),
    }


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match="eth7"):
        parse_snapshot(TEXT, "eth7")
