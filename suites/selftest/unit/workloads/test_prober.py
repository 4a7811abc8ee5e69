"""The prober: its pure parts, and real round trips over a veth pair (root only)."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP
from scapy.layers.l2 import Ether

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.records.trial import STAMPS
from harness.window.window import WindowSpec, partner_probe, run_window
from harness.workloads import latency as latency_module
from harness.workloads import prober
from harness.workloads.base import ParsedOutput
from harness.workloads.latency import FLOOR, FLOOR_NETNS, Latency, echo_request, measure_floor

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None,
    reason="CAP_NET_ADMIN and iproute2: a veth pair is needed",
)


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 64))
def test_patched_frames_have_the_checksum_that_scapy_computes(
    ident: int, sequence: int, payload: int
) -> None:
    template = prober.Template(echo_request(FLOOR, payload), ident)
    template.numbered((sequence + 1) & 0xFFFF)  # an earlier probe must leave no trace
    frame = bytes(template.numbered(sequence))
    expected = Ether(echo_request(FLOOR, payload))
    expected[ICMP].id, expected[ICMP].seq = ident, sequence
    del expected[ICMP].chksum
    assert frame == bytes(expected)
    assert prober.sequence_of(frame) == sequence


@given(st.binary(max_size=65).filter(any))
def test_the_checksum_over_itself_is_zero(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    assert prober.checksum(padded + prober.checksum(data).to_bytes(2, "big")) == 0


@pytest.mark.parametrize("ticks", [1, 2, 4, 5, 8, 10])
def test_no_phase_of_what_comes_round_meets_more_probes_than_another(ticks: int) -> None:
    """A tick each so many intervals, and a guest that is awake for 1/20 of an interval a probe: on
    a schedule without jitter a tick meets either none of the probes or each one that is near."""
    count, interval = 1000, 1_000_000
    leaves = [prober.due(number, interval) for number in range(count)]
    gaps = [after - before for before, after in itertools.pairwise(leaves)]
    assert min(gaps) > interval / 2 and leaves[0] == 0 and leaves[-1] < count * interval
    met = [
        sum((left - phase) % (ticks * interval) < interval / 20 for left in leaves)
        for phase in range(0, ticks * interval, interval // 40)
    ]
    assert max(met) - min(met) <= 10 and sum(met) / len(met) == pytest.approx(50 / ticks, abs=1)


def probed(*took: int, timeout: int = 100) -> prober.Probes:
    """Probes sent a microsecond apart, each answered so many ns later; 0: never."""
    probes = prober.Probes(timeout)
    for number in range(len(took)):
        probes.send(1000 * number, 1000 * number, 1000)
    for number, ns in enumerate(took):
        if ns:
            probes.answer(number, probes.left[number] + ns, 1_000_000 + 1000 * number + ns - 10)
    return probes


def stamps(count: int) -> dict[int, int]:
    return {number: 1_000_000 + 1000 * number for number in range(count)}


def test_stamps_are_matched_by_number_and_warm_up_is_left_out() -> None:
    message = prober.summary(1, probed(55, 60, 0, 70, 80), stamps(5))
    assert message == {
        "rtt_ns": [50, 60, 70],
        "user_ns": [60, 70, 80],
        "sent": 4,
        "lost": 1,
        "late": 0,
        "missed": 1,
        "unstamped": 0,
        "behind": 0,
        "source": "kernel-software",
    }


def test_without_stamps_the_users_clock_is_used_and_named() -> None:
    answer = prober.summary(0, probed(60, 70), {})
    assert (answer["rtt_ns"], answer["source"], answer["unstamped"]) == ([60, 70], "user", 2)


def test_a_probe_that_lacks_a_stamp_counts_by_the_users_clock_which_flatters_nobody() -> None:
    known = stamps(200)
    del known[7]
    answer = prober.summary(0, probed(*[60] * 200), known)
    assert answer["rtt_ns"] == [50] * 7 + [60] + [50] * 192
    assert (answer["source"], answer["unstamped"]) == ("kernel-software", 1)


def test_a_clock_that_was_set_between_two_stamps_says_nothing() -> None:
    known = {**stamps(200), 3: 5_000_000, 4: 0}  # a round trip below 0, and one of a millisecond
    answer = prober.summary(0, probed(*[60] * 200), known)
    assert answer["rtt_ns"][2:6] == [50, 60, 60, 50] and answer["unstamped"] == 2


def test_an_answer_after_the_timeout_is_late_and_lost_and_a_second_one_is_none() -> None:
    probes = probed(60, 101, 0, 99)
    probes.answer(0, 10_000, None)  # a duplicate
    probes.answer(9, 10_000, None)  # to no probe of ours
    answer = prober.summary(0, probes, stamps(4))
    assert (answer["user_ns"], answer["lost"], answer["late"], answer["missed"]) == (
        [60, 99],
        2,
        1,
        2,
    )


def test_sequence_numbers_that_came_round_are_of_the_latest_probe() -> None:
    probes = prober.Probes(100)
    for number in range((1 << 16) + 3):
        probes.send(number, number, 1)
    probes.answer(2, (1 << 16) + 2 + 5, None)
    assert probes.answered[(1 << 16) + 2] == 5 and not probes.answered[2]


def test_a_probe_that_left_late_is_counted() -> None:
    probes = prober.Probes(100)
    probes.send(0, 1000, 1000)
    probes.send(1000, 2001, 1000)
    assert prober.summary(0, probes, {})["behind"] == 1


@contextmanager
def floor() -> Iterator[LocalHost]:
    host = LocalHost()
    with latency_module._floor_pair(host):
        yield host


def probe(host: LocalHost, latency: Latency) -> ParsedOutput:
    spec = WindowSpec.of(latency.command(FLOOR))
    result = run_window(host, spec, netns=FLOOR_NETNS)
    return latency.parse(result.stdout, result.stderr, result.returncode)


@needs_namespaces
def test_real_round_trips_are_all_stamped_and_the_wire_saw_just_those() -> None:
    latency = Latency(count=200, warmup=5)
    with floor() as host:
        probe_partner = partner_probe(FLOOR.partner_interface)
        spec = WindowSpec.of(latency.command(FLOOR), [probe_partner])
        result = run_window(host, spec, netns=FLOOR_NETNS)
    outcome = latency.parse(result.stdout, result.stderr, result.returncode)
    assert outcome.error is None
    answer = json.loads(outcome.raw["prober"])
    assert (answer["sent"], answer["lost"], answer["unstamped"]) == (200, 0, 0)
    assert answer["source"] == "kernel-software"
    assert len(outcome.rtt_ns) == len(answer["user_ns"]) == 200
    # The kernel's stamps lie inside the user's: it sends before the first and wakes after the last.
    assert all(k < u for k, u in zip(outcome.rtt_ns, answer["user_ns"], strict=True))
    counters = probe_partner.parse(result).counters
    # The far end may add a router solicitation or two (IPv6) to the 205 answers.
    assert 205 <= counters["partner.tx_packets"] <= 210
    assert 205 <= counters["partner.rx_packets"] <= 210
    frame = 14 + 20 + 8 + 56
    assert counters["partner.tx_bytes"] - 205 * frame in range(5 * 150)


@needs_namespaces
def test_lost_probes_are_counted_and_the_limit_ends_the_run() -> None:
    with floor() as host:
        host.run(("ip", "-n", FLOOR_NETNS, "address", "flush", "dev", "floor1"))
        latency = Latency(count=1000, warmup=0, interval=0.02, timeout=0.05, limit=0.19)
        outcome = probe(host, latency)
    assert outcome.error is not None and "was answered" in outcome.error
    assert 3 <= outcome.lost <= 10  # one every 20 ms, with no answer to any


RESPONDER = """
import socket, sys, time
delay, drop = float(sys.argv[1]), int(sys.argv[2])
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
port.bind(("floor1", 0x0800))
print("listens", flush=True)
seen, waiting = 0, []
while True:
    port.settimeout(max(0.0001, waiting[0][0] - time.monotonic()) if waiting else None)
    try:
        frame = bytearray(port.recv(2048))
    except (TimeoutError, BlockingIOError):
        frame = bytearray()
    if len(frame) > 42 and frame[23] == 1 and frame[34] == 8:
        seen += 1
        if not drop or seen % drop:
            frame[0:12] = frame[6:12] + frame[0:6]
            frame[26:34] = frame[30:34] + frame[26:30]
            frame[34] = 0
            total = int.from_bytes(frame[36:38], "big") + 0x0800  # of the type, in one's complement
            frame[36:38] = (total % 0xFFFF).to_bytes(2, "big")
            waiting.append((time.monotonic() + delay, bytes(frame)))
    while waiting and waiting[0][0] <= time.monotonic():
        port.send(waiting.pop(0)[1])
"""
"""Answers echo requests after a delay, each but every n-th."""


@contextmanager
def answered_by(host: LocalHost, delay: float, drop: int = 0) -> Iterator[None]:
    """Echo requests over the veth pair are answered as RESPONDER does, and not by the kernel."""
    into = ("ip", "netns", "exec", FLOOR_NETNS)
    host.run((*into, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/icmp_echo_ignore_all"))
    argv = (*into, sys.executable, "-c", RESPONDER, str(delay), str(drop))
    with host.spawn(argv) as responder:
        Deadline(30, "the responder").poll(lambda: responder.output() != b"")
        yield


@needs_namespaces
def test_the_schedule_is_kept_while_answers_are_slow() -> None:
    """Each answer takes twenty intervals, and a probe leaves every interval all the same: a prober
    that waits for its answer takes 20 s for these."""
    latency = Latency(count=200, warmup=0, interval=0.005, timeout=5.0)
    with floor() as host, answered_by(host, delay=0.1):
        result = run_window(host, WindowSpec.of(latency.command(FLOOR)), netns=FLOOR_NETNS)
    outcome = latency.parse(result.stdout, result.stderr, result.returncode)
    assert outcome.error is None and outcome.lost == 0
    assert min(outcome.rtt_ns) >= 100_000_000
    assert outcome.metrics["rtt_p50"] >= 100_000
    assert outcome.instruments == {STAMPS: "kernel software"}
    assert result.window_ns < 10_000_000_000


@needs_namespaces
def test_what_is_lost_is_in_the_tail() -> None:
    """Every fifth probe is lost: the median stands, p90 is "at least the timeout"."""
    latency = Latency(count=400, warmup=0, interval=0.002, timeout=2.0)
    with floor() as host, answered_by(host, delay=0, drop=5):
        outcome = probe(host, latency)
    assert outcome.error is None
    assert outcome.lost == 80 and outcome.metrics["loss"] == 20
    assert outcome.metrics["rtt_p50"] < 2_000_000 == outcome.metrics["rtt_p90"]
    assert "rtt_p99" not in outcome.metrics  # of 400 probes four lie beyond it
    assert outcome.lost_bytes == 80 * 98


@needs_namespaces
def test_answers_after_the_timeout_are_lost() -> None:
    latency = Latency(count=50, warmup=0, interval=0.005, timeout=0.02)
    with floor() as host, answered_by(host, delay=0.1):
        outcome = probe(host, latency)
    assert outcome.error == "none of 50 probes was answered"
    assert json.loads(outcome.raw["prober"])["late"] > 20


@needs_namespaces
def test_foreign_frames_are_no_answers() -> None:
    # Another prober on the same port: the same sequence numbers, another identifier.
    quick = Latency(count=500_000, warmup=0, interval=0.0002, limit=200)
    *argv, text = quick.command(FLOOR).argv
    other = json.dumps({**json.loads(text), "ident": 1})
    with floor() as host, host.spawn(("ip", "netns", "exec", FLOOR_NETNS, *argv, other)) as rival:
        patient = Latency(count=2000, warmup=0, timeout=30, limit=60)
        outcome = probe(host, patient)
        assert rival.poll() is None
    assert outcome.error is None and outcome.lost == 0 and len(outcome.rtt_ns) == 2000


@needs_namespaces
def test_an_interval_spaces_the_probes() -> None:
    latency = Latency(count=10, warmup=0, interval=0.02)
    with floor() as host:
        result = run_window(host, WindowSpec.of(latency.command(FLOOR)), netns=FLOOR_NETNS)
    assert result.window_ns >= 0.18e9


@needs_namespaces
def test_a_missing_port_is_the_rigs_fault() -> None:
    with floor() as host:
        host.run(("ip", "-n", FLOOR_NETNS, "link", "delete", FLOOR.partner_interface))
        with pytest.raises(LabError, match="before it was ready: probing from floor0: No such dev"):
            probe(host, Latency(count=1))


@needs_namespaces
def test_the_floor_is_measured_and_leaves_nothing() -> None:
    host = LocalHost()
    host.run(("ip", "netns", "add", FLOOR_NETNS))  # as a killed run would leave it
    found = measure_floor(host, Latency(count=50, warmup=5))
    round_trips = found.rtt_ns
    assert found.instruments == {STAMPS: "kernel software"}
    assert len(round_trips) == 50 and all(0 < ns < 1_000_000_000 for ns in round_trips)
    assert FLOOR_NETNS not in host.run(("ip", "netns", "list")).text


@needs_namespaces
def test_a_floor_that_cannot_be_had_is_the_rigs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "PYTHON", ("no-such-python",))
    with pytest.raises(LabError, match="no-such-python"):
        measure_floor(LocalHost(), Latency(count=1))
    assert FLOOR_NETNS not in LocalHost().run(("ip", "netns", "list")).text
