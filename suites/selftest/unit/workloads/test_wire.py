"""Throughput from samples of the wire, and a real window that takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import MissingCapability
from harness.core.units import MIB
from harness.hosts.local import LocalHost
from harness.labs.nested import accel
from harness.labs.nested.choosing import choose
from harness.labs.nested.image import LabImage
from harness.labs.shape import LabShape
from harness.measure.wire import rates, simultaneous_rates, steady_rate
from harness.records.trial import WireSample
from harness.window.window import WindowSpec, run_window
from harness.workloads import fitted
from harness.workloads.base import ParsedOutput
from harness.workloads.iperf3 import Iperf3
from suites.selftest.support.files import CAPTURED

MS = 1_000_000


@given(
    rate=st.integers(1_000, 10**9),
    start_ms=st.integers(0, 200),
    wait_ms=st.integers(0, 900),
)
def test_neither_the_start_nor_the_waiting_counts(rate: int, start_ms: int, wait_ms: int) -> None:
    """100 ms of transfer at `rate` bytes per ms, before and after which nothing moves."""
    points = [
        (ms * MS, rate * min(max(ms - start_ms, 0), 100))
        for ms in range(0, start_ms + 100 + wait_ms, 5)
    ]
    assert steady_rate(points) == pytest.approx(rate * 1000)


@pytest.mark.parametrize("points", [[], [(0, 0)], [(0, 0), (5, 100)], [(0, 0), (5, 0)]])
def test_too_few_samples_give_no_rate(points: list[tuple[int, int]]) -> None:
    assert steady_rate(points) is None


def test_the_rate_is_of_payload_and_by_direction() -> None:
    """1,000 bytes per ms from the guest and 2,000 to it; 90 and 50 per cent are payload."""
    wire = [WireSample(ns=ms * MS, rx_bytes=ms * 1000, tx_bytes=ms * 2000) for ms in range(101)]
    counters = {"partner.rx_bytes": 100_000, "partner.tx_bytes": 200_000}
    one_way = rates(wire, ParsedOutput(sent_bytes=90_000), counters)
    assert one_way == pytest.approx({"throughput": 7.2})
    both = rates(wire, ParsedOutput(sent_bytes=90_000, received_bytes=100_000), counters)
    expected = {"throughput": 15.2, "throughput_tx": 7.2, "throughput_rx": 8.0}
    assert both == pytest.approx(expected)
    assert rates((), ParsedOutput(sent_bytes=90_000), counters) == {}
    assert rates(wire, ParsedOutput(sent_bytes=90_000, received_bytes=0), counters) == {}
    assert rates(wire, ParsedOutput(), counters) == {}


def sampled(*ways: tuple[int, int], after: int) -> list[WireSample]:
    """Samples of two directions; each starts and ends at a ms of its own, and carries 1,000 bytes a
    ms alone on the wire, half of that while the other flows."""
    samples, carried = [], [0, 0]
    for ms in range(after + 1):
        flowing = [start <= ms < end for start, end in ways]
        samples.append(WireSample(ns=ms * MS, rx_bytes=carried[0], tx_bytes=carried[1]))
        for way, flows in enumerate(flowing):
            carried[way] += (500 if all(flowing) else 1000) if flows else 0
    return samples


@pytest.mark.parametrize("second", [(0, 200), (60, 200), (60, 150), (20, 400)])
def test_two_directions_are_added_only_while_both_flow(second: tuple[int, int]) -> None:
    """Rates of intervals that hardly overlap give more than the wire carries: here up to twice."""
    wire = sampled((0, 200), second, after=450)
    counters = {"partner.rx_bytes": wire[-1].rx_bytes, "partner.tx_bytes": wire[-1].tx_bytes}
    outcome = ParsedOutput(sent_bytes=wire[-1].rx_bytes, received_bytes=wire[-1].tx_bytes)
    found = rates(wire, outcome, counters)
    expected = {"throughput": 8.0, "throughput_tx": 4.0, "throughput_rx": 4.0}
    assert found == pytest.approx(expected, rel=0.05)


def test_directions_that_do_not_meet_have_no_rate_together() -> None:
    wire = sampled((0, 100), (100, 200), after=250)
    counters = {"partner.rx_bytes": wire[-1].rx_bytes, "partner.tx_bytes": wire[-1].tx_bytes}
    outcome = ParsedOutput(sent_bytes=wire[-1].rx_bytes, received_bytes=wire[-1].tx_bytes)
    assert rates(wire, outcome, counters) == {}


def test_a_window_reads_what_it_watches_until_it_closes(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.write_text("0")
    script = f"for i in 1 2 3; do sleep 0.1; echo $i > {seen}; done; sleep 0.1"
    spec = WindowSpec(("sh", "-c", script), watch=(str(seen),), every=0.02)
    result = run_window(LocalHost(), spec)
    times = [ns for ns, _ in result.samples]
    texts = [sample[str(seen)].strip() for _, sample in result.samples]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= result.window_ns
    assert [text for text in dict.fromkeys(texts) if text] == ["0", "1", "2", "3"]
    assert run_window(LocalHost(), WindowSpec(("true",), watch=(str(seen),))).samples == ()


STARVED = (
    (1, 0), (21, 1), (26, 4), (31, 7), (36, 10), (41, 13), (46, 15), (51, 18), (57, 21), (62, 24),
    (67, 27), (72, 30), (77, 32), (82, 33), (87, 33), (94, 33), (103, 33), (108, 33), (120, 33),
), (
    (1, 0), (21, 0), (26, 0), (31, 1), (36, 1), (41, 2), (46, 2), (51, 3), (57, 3), (62, 4),
    (67, 4), (72, 5), (77, 6), (82, 7), (87, 11), (94, 13), (103, 20), (108, 25), (120, 33),
)  # fmt: skip
"""Milliseconds and MiB of native in a lab of four CPUs: what the port receives is served first, and
what it sends has hardly begun when the other direction is through."""


def test_two_directions_of_which_one_starves_have_rates_all_the_same() -> None:
    one, other = ([(ms * 1_000_000, mib * MIB) for ms, mib in points] for points in STARVED)
    found = simultaneous_rates(one, other)
    assert found is not None
    assert simultaneous_rates(other, one) == found[::-1]
    assert [rate / MIB / 1000 for rate in found] == pytest.approx([0.56, 0.10], rel=0.1)
    assert simultaneous_rates(one, [(ns, 0) for ns, _ in other]) is None
    assert simultaneous_rates(one, ()) is None


def test_a_test_by_size_says_so_and_has_no_rate_of_iperf3s() -> None:
    by_size, by_time = fitted("tcp-tx", "virtual"), fitted("tcp-tx", "wall", fidelity="nested-kvm")
    assert by_size.parameters == {"bytes": str(128 << 20), "parallel": "1"}
    assert by_time.parameters == {"seconds": "1", "omit": "1", "parallel": "1"}
    captured = (CAPTURED / "iperf3" / "tcp_reverse.json").read_text()
    found = Iperf3("tcp-tx", size=1 << 20).parse(captured, "", 0)
    assert set(found.metrics) == {"retransmits"} and found.sent_bytes
    assert fitted("udp", "virtual").parameters["rate"] == "100000000"


def test_virtual_time_is_refused_on_a_qemu_that_is_not_mended(tmp_path: Path) -> None:
    """It would hang guests; the error comes before anything is started."""
    image = LabImage(tmp_path)
    (tmp_path / "qemu").write_text("11.9.0")
    with pytest.raises(MissingCapability, match=r"11\.9\.0 delivers") as caught:
        choose(image, LabShape("virtual"))
    assert "--clock wall" in caught.value.remedy
    image.fixed_qemu.touch()
    mended = choose(image, LabShape("virtual")).accel
    assert mended == accel.VIRTUAL and mended.cpus == 1
    assert "-icount" in mended.argv and "-icount" not in accel.TCG.argv
