"""The prober: its pure parts, and real round trips over a veth pair (root only)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP
from scapy.layers.l2 import Ether

from harness.errors import LabError
from harness.host.local import LocalHost
from harness.measure.window import WindowSpec, partner_probe, run_window
from harness.workloads import latency as latency_module
from harness.workloads import prober
from harness.workloads.base import Outcome
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


def test_stamps_are_matched_by_number_and_warm_up_is_left_out() -> None:
    answers = [(0, 5_000, 1), (1, 1_900, 60), (3, 4_500, 70), (4, None, 80)]
    said = prober.summary(1, 5, answers, {0: 10, 1: 1_000, 2: 2_000, 3: 4_000, 4: 5_000})
    assert said == {
        "rtt_ns": [900, 500],
        "user_ns": [60, 70, 80],
        "sent": 4,
        "lost": 1,
        "unstamped": 1,
        "source": "kernel-software",
    }


def test_without_any_stamp_the_users_clock_is_used_and_named() -> None:
    said = prober.summary(0, 1, [(0, None, 60)], {})
    assert (said["rtt_ns"], said["source"], said["unstamped"]) == ([60], "user", 1)


@contextmanager
def floor() -> Iterator[LocalHost]:
    host = LocalHost()
    with latency_module._floor_pair(host):
        yield host


def probe(host: LocalHost, latency: Latency) -> Outcome:
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
    said = json.loads(outcome.raw["prober"])
    assert (said["sent"], said["lost"], said["unstamped"]) == (200, 0, 0)
    assert said["source"] == "kernel-software"
    assert len(outcome.rtt_ns) == len(said["user_ns"]) == 200
    # The kernel's stamps lie inside the user's: it sends before the first and wakes after the last.
    assert all(k < u for k, u in zip(outcome.rtt_ns, said["user_ns"], strict=True))
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
        outcome = probe(host, Latency(count=1000, warmup=0, timeout=0.05, limit=0.2))
    assert outcome.error is not None and "was answered" in outcome.error
    assert 3 <= outcome.lost <= 6


@needs_namespaces
def test_foreign_frames_are_no_answers() -> None:
    # Another prober on the same port: the same sequence numbers, another identifier.
    *argv, text = Latency(count=100_000, warmup=0).command(FLOOR).argv
    other = json.dumps({**json.loads(text), "ident": 1})
    with floor() as host, host.spawn(("ip", "netns", "exec", FLOOR_NETNS, *argv, other)) as rival:
        outcome = probe(host, Latency(count=5000, warmup=0))
        assert rival.poll() is None
    assert outcome.error is None and outcome.lost == 0 and len(outcome.rtt_ns) == 5000


@needs_namespaces
def test_an_interval_spaces_the_probes() -> None:
    latency = Latency(count=10, warmup=0, interval=0.02)
    with floor() as host:
        result = run_window(host, WindowSpec.of(latency.command(FLOOR)), netns=FLOOR_NETNS)
    assert 0.18e9 <= result.window_ns < 2e9


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
    round_trips = measure_floor(host, Latency(count=50, warmup=5))
    assert len(round_trips) == 50 and all(0 < ns < 1_000_000_000 for ns in round_trips)
    assert FLOOR_NETNS not in host.run(("ip", "netns", "list")).text


@needs_namespaces
def test_a_floor_that_cannot_be_had_is_the_rigs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_module, "PYTHON", ("no-such-python",))
    with pytest.raises(LabError, match="no-such-python"):
        measure_floor(LocalHost(), Latency(count=1))
    assert FLOOR_NETNS not in LocalHost().run(("ip", "netns", "list")).text
