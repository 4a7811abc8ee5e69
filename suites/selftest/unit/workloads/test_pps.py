"""Frames by pktgen: what is sent, what the agent reads and tells, and the real thing over a veth
pair where this machine's kernel has pktgen."""

from __future__ import annotations

import json
import os
import select
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether

from harness import workloads
from harness.core.errors import ConfigError, MissingCapability
from harness.core.metrics import METRICS
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.journal.modules import loadable, shown
from harness.records.generator import is_limit
from harness.workloads import pktgen_agent as agent
from harness.workloads.families import FAMILIES, checked_sizes, expanded
from harness.workloads.latency import FLOOR, echo_request
from harness.workloads.ndr import Ndr
from harness.workloads.pps import (
    IMIX,
    MODULE,
    SINK_NETNS,
    STANDARD,
    Pps,
    check_sendable,
    line_rate,
    measure_limits,
    sized,
)
from harness.workloads.traffic import Traffic
from suites.selftest.support.files import CAPTURED

ANSWER = {
    "sent": 50_000, "errors": 0, "ns": 125_000_000, "drained_ns": 0, "quiet_ns": 40_000,
    "asks": 1, "cpus": 1,
}  # fmt: skip


def spec_of(workload: Pps) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(workload.command(FLOOR).argv[-1])
    return found


def test_sizes_are_those_of_a_whole_frame() -> None:
    assert [spec_of(Pps(size))["size"] for size in STANDARD] == [size - 4 for size in STANDARD]
    assert spec_of(Pps(0))["imix"] == "60,7 590,4 1514,1"
    assert Pps(0).mean_size == pytest.approx((7 * 64 + 4 * 594 + 1518) / 12)
    assert Pps(0).frames.largest == max(IMIX) and Pps(64).frames.largest == 64


@pytest.mark.parametrize("name", ["pps-rx-63", "pps-rx-9601", "pps-rx-20000"])
def test_a_size_that_no_frame_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="64 to 9600 bytes with its checksum"):
        workloads.select((name,))


@pytest.mark.parametrize("name", ["pps-rx", "pps-rx-", "pps-rx-064", "pps-rx-x", "pps-rx-64-2"])
def test_what_is_no_size_is_no_workload(name: str) -> None:
    assert sized(name) is None
    with pytest.raises(ConfigError, match="is not a workload"):
        workloads.select((name,))


def test_sizes_that_are_not_standard_ones_are_workloads_too() -> None:
    assert workloads.select(("pps-rx-1400", "tcp-tx")) == ("pps-rx-1400", "tcp-tx")
    assert workloads.named("pps-rx-1400").parameters["size"] == "1400"
    assert workloads.known("pps-rx-1400") and not workloads.known("idle")


def test_a_family_is_a_workload_for_each_size() -> None:
    assert expanded(("udp", "pps-rx"), ("64", "imix")) == ("udp", "pps-rx-64", "pps-rx-imix")
    assert expanded(("ndr",), ("64",)) == ("ndr-64",)
    assert expanded(("pps-rx-128",), ("64",)) == ("pps-rx-128",)
    assert checked_sizes("64,imix") == ("64", "imix")
    assert checked_sizes(None) == ("64", "1518")


@pytest.mark.parametrize("text", ["big", "64,big", ",", "-64", "64.5"])
def test_a_size_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--frame-size .*: neither a number of bytes nor imix"):
        checked_sizes(text)


def test_no_run_makes_them_unasked() -> None:
    assert not any(name.startswith(FAMILIES) for name in workloads.USUAL)


def test_a_search_sends_frames_as_its_trials_do() -> None:
    load = workloads.fitted("ndr-1400", "virtual-smp", traffic=Traffic(streams=2))
    assert isinstance(load, Ndr) and load.threads == 2
    flood = Pps(1400, count=50_000, seconds=0.1, threads=2, margin=load.margin)
    assert load.flood == flood
    assert spec_of(load.step(1000, 0.5))["count"] == 500
    assert load.step(1000, 0.5).parameters["rate"] == "1000"
    assert load.frames == load.flood.frames and set(load.primary) <= set(METRICS)
    with pytest.raises(ConfigError, match="64 to 9600 bytes"):
        workloads.select(("ndr-63",))


def test_the_rate_and_the_cpus_are_those_asked_for_and_stand_in_the_record() -> None:
    load = workloads.fitted("pps-rx-64", "wall", traffic=Traffic(streams=2, pps=1000))
    assert isinstance(load, Pps) and (load.rate, load.threads) == (1000, 2)
    assert load.parameters == {
        "size": "64",
        "seconds": "5",
        "rate": "1000",
        "threads": "2",
        "clones": "1000",
    }
    assert spec_of(load)["count"] == 5000
    flat = workloads.fitted("pps-rx-64", "virtual-smp")
    assert flat.parameters == {
        "size": "64",
        "frames": "50000",
        "rate": "flat out",
        "threads": "1",
        "clones": "1000",
    }
    assert flat.command(FLOOR).modules == (MODULE,)


def test_a_link_carries_so_many_frames_and_no_more() -> None:
    """14,880,952 frames of 64 bytes a second at 10 Gbit/s (RFC 2544, appendix B)."""
    assert line_rate(10_000_000_000, 64) == pytest.approx(14_880_952, abs=1)
    check_sendable(Pps(64, rate=1_488_095), 1500, 1000)
    with pytest.raises(ConfigError, match="--pps 1488096: a link of 1000 Mbit/s carries 1488095"):
        check_sendable(Pps(64, rate=1_488_096), 1500, 1000)
    check_sendable(Pps(64, rate=1_488_096), 1500, None)


def test_an_mtu_that_is_too_small_is_told_before_anything_is_sent() -> None:
    check_sendable(Pps(1518), 1500, None)
    with pytest.raises(ConfigError, match=r"frames of 1518 bytes: the MTU of 1400 of the"):
        check_sendable(Pps(1518), 1400, None)
    check_sendable(Pps(9018), 9000, None)


def test_what_the_agent_tells_is_read() -> None:
    found = Pps(64).parse(json.dumps(ANSWER), "", 0)
    assert found.error is None and found.sending is not None
    assert (found.sending.sent, found.sending.asks) == (50_000, 1)
    assert found.sending.ns == found.sending.busy_ns == 125_000_000
    assert {"pps", "pps_offered", "frame_loss"} <= METRICS.keys()


@pytest.mark.parametrize("text", ["", "{", '{"sent": 1}', json.dumps({**ANSWER, "sent": 0})])
def test_output_that_cannot_be_used_is_an_error(text: str) -> None:
    found = Pps(64).parse(text, "killed", None)
    assert found.error and found.sending is None


def test_a_queue_at_the_end_is_time_in_which_the_receiver_was_busy() -> None:
    found = Pps(64).parse(json.dumps({**ANSWER, "drained_ns": 20_000_000}), "", 0).sending
    assert found is not None and (found.ns, found.busy_ns) == (125_000_000, 145_000_000)


def test_a_path_that_takes_all_is_held_back_by_its_generator() -> None:
    assert is_limit(98, 100) and not is_limit(97.9, 100)


# --- The agent's own parts ------------------------------------------------------------------------


OLD = """\
Current:
     pkts-sofar: 10000000  errors: 39664
     started: 1103053986245187us  stopped: 1103053999346329us idle: 880401us
Result: OK: 13101142(c12220741+d880401) usec, 10000000 (60byte,0frags)
  763292pps 390Mb/sec (390805504bps) errors: 39664
"""
"""As the kernel's own documentation has it since 2.6 (Documentation/networking/pktgen)."""


def test_what_pktgen_tells_is_read_on_kernels_new_and_old() -> None:
    new = agent.Progress((CAPTURED / "pktgen/linux-6.12.txt").read_text())
    assert (new.done, new.sent, new.errors) == (True, 50_000, 0)
    assert new.stopped - new.started == 66_443
    old = agent.Progress(OLD)
    assert (old.done, old.sent, old.errors) == (True, 10_000_000, 39_664)
    assert old.stopped - old.started == 13_101_142


def test_a_device_is_told_all_that_decides_on_its_frames() -> None:
    orders = agent.settings(spec_of(Pps(128, rate=20_000, threads=2)), 7, 2)
    assert {"count 7", "pkt_size 124", "delay 100000", f"dst_mac {FLOOR.guest_mac}"} <= {*orders}
    assert "delay 0" in agent.settings(spec_of(Pps(128)), 7, 2)
    assert not any(text.startswith("imix") for text in orders)
    assert "imix_weights 60,7 590,4 1514,1" in agent.settings(spec_of(Pps(0)), 7, 1)


@given(st.integers(0, 10**9), st.integers(1, 64))
def test_the_cpus_share_all_frames(total: int, parts: int) -> None:
    found = agent.shares(total, parts)
    assert sum(found) == total and len(found) == parts and max(found) - min(found) <= 1


@given(st.integers(0, 0xFFFF))
def test_requests_have_the_checksum_that_scapy_computes(sequence: int) -> None:
    frame = agent.numbered(bytes.fromhex(spec_of(Pps(64))["request"]), sequence)
    expected = Ether(echo_request(FLOOR, 18))
    expected[ICMP].id, expected[ICMP].seq = agent.IDENT, sequence
    del expected[ICMP].chksum
    assert frame == bytes(expected) and len(frame) == 60


def test_only_answers_to_own_requests_count() -> None:
    def packet(kind: int = 0, ident: int = agent.IDENT) -> bytes:
        return bytes(Ether(type=0x800) / IP() / ICMP(type=kind, id=ident, seq=7))

    assert agent.answered(packet()) == 7
    assert agent.answered(packet(kind=8)) is None
    assert agent.answered(packet(ident=1)) is None
    assert agent.answered(bytes(Ether(type=0x800) / IP() / UDP() / bytes(8))) is None


@pytest.mark.parametrize("text", ["", "Params: count 1", "pkts-sofar: 1  errors: 0"])
def test_text_that_is_not_pktgens_is_told(text: str) -> None:
    with pytest.raises(agent.Refused, match="what is not known"):
        agent.Progress(text)


def device(text: str, sent: int, started: int = 1, stopped: int = 2) -> str:
    """A device's file, as pktgen_if_show prints it (net/core/pktgen.c)."""
    return (
        "Params: count 10  min_pkt_size: 60  max_pkt_size: 60\n"
        "Current:\n"
        f"     pkts-sofar: {sent}  errors: 0\n"
        f"     started: {started}us  stopped: {stopped}us idle: 7us\n"
        f"Result: {text}\n"
    )


OK = (
    "OK: 51009(c50980+d28) usec, 10 (60byte,0frags)\n  392095pps 188Mb/sec (188205600bps) errors: 0"
)


def scripted(monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[tuple[str, str]]:
    """Each reading of a device's file gives the next of these texts; the orders that are given."""
    left = list(texts)
    orders: list[tuple[str, str]] = []
    monkeypatch.setattr(agent, "read", lambda _: left.pop(0))
    monkeypatch.setattr(agent, "order", lambda *given: orders.append(given))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return orders


def test_what_was_sent_is_told_when_pktgen_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    before = device("OK: flag=QUEUE_MAP_CPU", 0, started=0)
    scripted(monkeypatch, before, device("Starting", 4), device("Starting", 10), device(OK, 10))
    (found,) = agent.wait_for(["eth0@1"], spec_of(Pps(64, count=10)))
    assert (found.sent, found.errors, found.started, found.stopped) == (10, 0, 1, 2)


def test_what_is_sent_by_time_is_stopped_when_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "monotonic", iter([0.0, 1.0, 5.1, 5.2]).__next__)
    orders = scripted(
        monkeypatch,
        device("Starting", 4, started=100_000),
        device("Starting", 9, started=100_000),
        device(OK, 10),
    )
    (found,) = agent.wait_for(["eth0@1"], spec_of(Pps(64, seconds=5)))
    assert found.sent == 10 and orders == [("pgctrl", "stop")]


def test_a_generator_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", iter([0.0, 1.0, 2.1]).__next__)
    scripted(monkeypatch, *[device("Starting", 0, started=0)] * 2)
    with pytest.raises(agent.Refused, match="does not start"):
        agent.wait_for(["eth0@1"], spec_of(Pps(64, count=10)))


class Queue:
    """A receiver that answers requests one after another, `busy` ns each, behind what waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, waits: int, trip: int = 50_000) -> None:
        self.now, self.free, self.trip = 1_000_000_000, 1_000_000_000 + waits, trip
        self.answers: list[tuple[int, bytes]] = []
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now / 1e9)
        monkeypatch.setattr(select, "select", self.select)

    def send(self, frame: bytes) -> None:
        self.now += 1000
        self.free = max(self.free, self.now) + 1000
        made = Ether(frame)
        made[ICMP].type = 0
        self.answers.append((self.free + self.trip, bytes(made)))

    def select(self, _r: object, _w: object, _x: object, seconds: float) -> tuple[list[Any], ...]:
        until = self.now + round(seconds * 1e9)
        due = self.answers[0][0] if self.answers else until + 1
        self.now = min(until, max(self.now, due))
        return ([self] if due <= until else [], [], [])

    def recv(self, _size: int) -> bytes:
        return self.answers.pop(0)[1]


def asker_of(queue: Queue) -> agent.Asker:
    made = object.__new__(agent.Asker)
    made.frame, made.left = bytes(echo_request(FLOOR, 18)), []
    made.socket = queue  # type: ignore[assignment]
    return made


@pytest.mark.parametrize("waits", [0, 50_000, 2_000_000, 40_000_000])
def test_it_is_asked_until_nothing_waits(monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    queue = Queue(monkeypatch, waits)
    asker = asker_of(queue)
    asked, took = asker.ask(200_000, 5.0)
    assert took <= 200_000
    free = 1_000_000_000 + waits
    assert free - 200_000 <= asked <= free + 2 * 250_000
    assert (asked == asker.left[0]) is (waits < 150_000)


def test_a_receiver_that_never_recovers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(agent.Refused, match=r"no echo request is answered in time, 0.5 s after"):
        asker_of(Queue(monkeypatch, 10**9)).ask(200_000, 0.5)


# --- The real thing -------------------------------------------------------------------------------

HOST = LocalHost()
THERE = HOST.exists(shown(MODULE))
needs_modprobe = pytest.mark.skipif(shutil.which("modprobe") is None, reason="kmod's modprobe")
needs_pktgen = pytest.mark.skipif(
    os.geteuid() != 0
    or not (THERE or (shutil.which("modprobe") is not None and loadable(HOST, MODULE))),
    reason="root and kernel module pktgen",
)


@needs_pktgen
@pytest.mark.parametrize("size", [64, 1518, 0])
def test_the_generator_alone_is_measured_and_leaves_nothing(size: int, tmp_path: Path) -> None:
    limits = measure_limits(HOST, [Pps(size)], Journal(HOST, "pps", str(tmp_path)))
    assert limits[Pps(size).name] > 1000
    assert HOST.exists(shown(MODULE)) is THERE
    assert SINK_NETNS not in HOST.run(("ip", "netns", "list")).text


@needs_modprobe
@pytest.mark.skipif(THERE, reason="a kernel in which pktgen is not loaded")
def test_a_kernel_without_pktgen_is_named(tmp_path: Path) -> None:
    nothing = Journal(HOST, "pps", str(tmp_path), may=frozenset())
    with pytest.raises(MissingCapability, match=r"kernel module pktgen|permission modules"):
        measure_limits(HOST, [Pps(64)], nothing)
