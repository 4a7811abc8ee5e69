"""The search for the highest rates: what it finds on paths whose capacity is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from harness.measure import drops
from harness.measure.search import Step, search, searched
from harness.qemu.attachment import NicAttachment
from harness.records.generator import held_back
from harness.records.trial import DELIVERED, DROPPED, SENT, Proof, TrialRecord
from harness.workloads.base import Sending
from harness.workloads.ndr import GOALS, WIDTH, Ndr
from harness.workloads.pps import Pps

MOST = 395_000.0
TAPPED = NicAttachment(path="virtio", mac="", driver="virtio_net", host_interface="e", tap="t")


@dataclass
class Simulated:
    """A path that handles `capacity` frames a second, before which `queue` frames may wait, behind
    a generator that sends MOST at most."""

    capacity: float
    queue: int = 1500
    made: list[Pps] = field(default_factory=list)

    def sent(self, rate: int, seconds: float) -> tuple[int, int, int, int]:
        """Frames sent and delivered, ns of sending, ns until the path was through with them."""
        offered = min(rate or MOST, MOST)
        sent = round((rate or MOST) * seconds)
        ns = sent / offered
        delivered = min(sent, round(self.capacity * ns + self.queue))
        return sent, delivered, round(ns * 1e9), round(max(ns, delivered / self.capacity) * 1e9)

    def step(self, rate: int, seconds: float) -> Step:
        sent, delivered, ns, busy = self.sent(rate, seconds)
        late = round(delivered * (1 - ns / busy))
        return Step(rate, seconds, sent, sent - delivered, late, ns)

    def record(self, flood: Pps) -> TrialRecord:
        self.made.append(flood)
        sent, delivered, ns, busy = self.sent(flood.rate, flood.seconds)
        sending = Sending(sent, 1, ns, busy)
        counters = {"partner.tx_packets": sent + 1, "guest.rx_packets": delivered + 1}
        counters |= {"port.rx_packets": sent + 1, "port.rx_missed": 0, "guest.rx_missed": 0}
        counters |= {"tap.rx_missed": sent - delivered}
        account = drops.accounts(sending, TAPPED, counters)
        metrics = drops.metrics(sending, account)
        return draft(valid=True, metrics=metrics, counters=account, window_ns=busy)


def draft(**changes: object) -> TrialRecord:
    base = TrialRecord(
        run="r", index=0, fidelity="nested-tcg", host="lab", nic="82576", path="virtio",
        workload="ndr-64", block=0, boot=0, trial=0, started="2026-01-01T00:00:00Z", window_ns=0,
        valid=False,
    )  # fmt: skip
    return replace(base, **changes)


@settings(max_examples=40)
@given(st.floats(20_000, 0.98 * MOST), st.integers(0, 5000))
def test_a_known_capacity_is_found_within_the_width(capacity: float, queue: int) -> None:
    """However many frames wait in a queue at the end of a trial."""
    found = search(Simulated(capacity, queue).step, MOST, 0.1, 0.1)
    assert (1 - WIDTH) * capacity <= found.rates["ndr"] <= 1.0002 * capacity
    assert (1 - WIDTH) * capacity <= found.rates["pdr"] <= 1.0002 * capacity
    for name, ratio in GOALS.items():
        bounds = found.bounds[name]
        assert bounds.high is not None
        assert bounds.low <= 1.0002 * capacity / (1 - ratio) <= bounds.high * 1.0004
        assert bounds.high / bounds.low <= 1 + 1.1 * WIDTH
    assert 4 <= len(found.steps) <= 30


def test_a_path_that_takes_all_is_searched_no_further() -> None:
    found = search(Simulated(2 * MOST).step, MOST, 0.1, 0.1)
    assert found.rates["ndr"] == found.rates["pdr"] == pytest.approx(MOST)
    assert found.bounds["ndr"].high is None and len(found.steps) < 6


def test_a_path_that_always_loses_has_no_rate() -> None:
    def loses(rate: int, seconds: float) -> Step:
        sent = max(1, round(rate * seconds))
        return Step(rate, seconds, sent, max(1, sent // 50), 0, round(seconds * 1e9))

    found = search(loses, MOST, 0.1, 0.1)
    assert found.rates == {} and found.bounds == {}


def test_trials_of_two_lengths_end_with_the_long_ones() -> None:
    found = search(Simulated(100_000.0).step, MOST, 0.1, 1.0)
    assert found.steps[0].seconds == 0.1 and found.steps[-1].seconds == 1.0


def test_a_generator_that_falls_behind_did_not_send_what_is_claimed() -> None:
    """It reaches 300,000 a second, though it was taken to send 395,000, and nothing is lost."""

    def slow(rate: int, seconds: float) -> Step:
        sent = round(rate * seconds)
        return Step(rate, seconds, sent, 0, 0, round(sent / min(rate, 300_000) * 1e9))

    found = search(slow, MOST, 0.1, 0.1)
    assert found.rates["ndr"] == pytest.approx(300_000, rel=0.01)


def test_a_search_is_one_record_with_the_trials_that_led_there() -> None:
    path = Simulated(100_000.0)
    record = searched(draft(), Ndr(64, first=0.1, last=0.1), path.record)
    assert record.valid and not record.reasons
    assert record.metrics["ndr"] == pytest.approx(100_000, rel=WIDTH)
    assert record.metrics["pps_offered"] == pytest.approx(MOST, rel=1e-6)
    flat, *steps = path.made
    assert not flat.rate and all(step.rate for step in steps)
    told = json.loads(record.raw["search"])
    assert [each["rate"] for each in told["steps"]] == [step.rate for step in steps]
    assert told["bounds"]["ndr"]["low"] <= 100_100 < told["bounds"]["ndr"]["high"] * 1.001
    counts = record.counters
    assert counts[SENT] == counts[DELIVERED] + counts[f"{DROPPED}macvtap"]
    assert not held_back(record)
    assert held_back(searched(draft(), Ndr(64), Simulated(2 * MOST).record))


def test_a_search_whose_best_trial_is_no_proof_is_none() -> None:
    path, why = Simulated(100_000.0), "frames add up: 60 at an unknown place"
    proof = Proof(name="frames add up", holds=False, detail="60")

    def doubtful(flood: Pps) -> TrialRecord:
        return replace(path.record(flood), valid=False, reasons=(why,), proofs=(proof,))

    record = searched(draft(), Ndr(64, first=0.1, last=0.1), doubtful)
    assert (record.valid, record.reasons, record.proofs) == (False, (why,), (proof,))


def test_a_trial_that_did_not_come_about_ends_the_search_with_its_reason() -> None:
    record = searched(draft(), Ndr(64), lambda _: draft(reasons=("pktgen ended with status 1",)))
    assert not record.valid
    assert record.reasons == ("at as many as can be a second: pktgen ended with status 1",)
