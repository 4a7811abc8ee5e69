"""Parts of the qualification that only compute."""

from __future__ import annotations

import msgspec
import pytest

from harness.core.errors import LabError
from harness.hosts.base import CommandResult
from harness.qualify.checks import leaks
from harness.qualify.checks.guest_lifecycle import properties
from harness.qualify.rig.node import iperf3_document
from harness.qualify.traffic.streams import carried, longest_silence
from harness.workloads.iperf3_output import Document, read_document
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED


@pytest.fixture
def report() -> Document:
    return read_document((DATA / "iperf3" / "tcp_bidir.json").read_text())


def test_a_device_of_the_command_line_is_one_for_qmp() -> None:
    given = ("-device", "vfio-pci,host=0000:01:10.0,rombar=0,x-no-mmap=on")
    assert properties(given) == {
        "driver": "vfio-pci",
        "host": "0000:01:10.0",
        "rombar": 0,
        "x-no-mmap": "on",
    }


def test_a_stream_that_carries_is_not_silent(report: Document) -> None:
    assert longest_silence(report) == 0
    assert report.end.sum_received is not None
    assert report.end.sum_received_bidir_reverse is not None
    both = report.end.sum_received.bytes + report.end.sum_received_bidir_reverse.bytes
    assert carried(report) == both > 0


def test_the_longest_silence_of_either_direction_counts(report: Document) -> None:
    first, *_ = report.intervals
    assert first.sum_bidir_reverse is not None
    silent = msgspec.structs.replace(first.sum_bidir_reverse, bytes=0)
    mute = msgspec.structs.replace(first, sum_bidir_reverse=silent)
    spoilt = msgspec.structs.replace(report, intervals=(mute, first, mute, mute, mute, first))
    assert longest_silence(spoilt) == 3


def test_a_transfer_that_broke_off_is_the_rigs_failure() -> None:
    output = (DATA / "iperf3" / "killed_server.json").read_bytes()
    with pytest.raises(LabError, match="iperf3"):
        iperf3_document(CommandResult("lab", ("iperf3",), 0, output, b""))


def test_what_a_host_holds_is_read_from_one_text() -> None:
    held = leaks.parse((DATA / "proc" / "holdings").read_text())
    assert held.countable == (10, 8, 4)
    assert held.memory_kib == 11932 + 1024 + 276
