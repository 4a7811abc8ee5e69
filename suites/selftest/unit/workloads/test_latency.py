"""Latency on the controller: the frame, the quantiles, and reading the prober's answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from harness.core.errors import ConfigError
from harness.core.metrics import METRICS
from harness.core.percentiles import BEYOND, QUANTILES, nearest_rank, resolved, summarise
from harness.records.trial import STAMPS, USER
from harness.workloads import NAMES, USUAL, select
from harness.workloads.base import Target
from harness.workloads.latency import Latency, echo_request

TARGET = Target("10.9.0.2", "52:54:00:00:02:01", "10.9.0.1", "52:54:00:00:01:02", "enp2s0")


def answer(**changes: object) -> str:
    message = {
        "rtt_ns": [3000, 1000, 2000],
        "user_ns": [9000, 8000, 7000],
        "sent": 4,
        "lost": 1,
        "late": 0,
        "missed": 2,
        "unstamped": 0,
        "behind": 1,
        "source": "kernel-software",
    }
    return json.dumps({**message, **changes})


def test_the_frame_goes_from_the_partner_to_the_guest() -> None:
    frame = Ether(echo_request(TARGET, 10))
    assert (frame.src, frame.dst) == ("52:54:00:00:01:02", "52:54:00:00:02:01")
    assert (frame[IP].src, frame[IP].dst) == ("10.9.0.1", "10.9.0.2")
    assert frame[ICMP].type == 8
    assert bytes(frame[ICMP].payload) == bytes(range(10))
    assert len(frame) == 14 + 20 + 8 + 10


def test_round_trips_keep_their_order_and_loss_is_a_percentage() -> None:
    outcome = Latency().parse(answer(), "", 0)
    assert outcome.error is None
    assert outcome.rtt_ns == (3000, 1000, 2000)
    assert outcome.lost == 1
    assert outcome.metrics["loss"] == 25.0
    assert outcome.metrics["rtt_min"] == 1.0
    assert outcome.metrics["rtt_max"] == 1_000_000  # of the lost one, at least
    assert outcome.metrics["behind_schedule"] == 25.0
    assert outcome.lost_bytes == 2 * 98  # those of the warm-up are missed on the wire, too
    assert outcome.instruments == {STAMPS: "kernel software"}
    assert outcome.metrics.keys() <= METRICS.keys()


def test_the_users_clock_is_named() -> None:
    assert Latency().parse(answer(source="user"), "", 0).instruments == {STAMPS: USER}


def test_what_is_measured_is_named() -> None:
    parameters = Latency(interval=0.0005).parameters
    assert parameters["schedule"] == "fixed, one in every 500 us" and "interval" not in parameters


@pytest.mark.parametrize(
    ("probes", "names"),
    [
        (19, set()),
        (20, {"rtt_p50"}),
        (500, {"rtt_p50", "rtt_p90"}),
        (999, {"rtt_p50", "rtt_p90"}),
        (1000, {"rtt_p50", "rtt_p90", "rtt_p99"}),
        (9999, {"rtt_p50", "rtt_p90", "rtt_p99"}),
        (10_000, set(QUANTILES)),
    ],
)
def test_a_percentile_is_told_if_ten_probes_lie_beyond_it(probes: int, names: set[str]) -> None:
    found = summarise(range(1, probes + 1))
    assert found.keys() - {"rtt_min", "rtt_max"} == names
    for name in names:
        beyond = sum(value > found[name] * 1000 for value in range(1, probes + 1))
        assert beyond >= BEYOND


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300), st.integers(0, 300))
def test_lost_probes_take_their_places_at_the_end(rtt_ns: list[int], lost: int) -> None:
    """As if each had been answered just when it was given up."""
    assert summarise(rtt_ns, lost, 10**9) == summarise([*rtt_ns, *[10**9] * lost])
    assert resolved(0.5, len(rtt_ns)) <= resolved(0.5, len(rtt_ns) + lost)


def test_a_tenth_lost_is_a_p90_beyond_the_limit_and_no_flattering_one() -> None:
    found = summarise([1000] * 890, 110, 10**9)
    assert (found["rtt_p50"], found["rtt_p90"]) == (1, 1_000_000)


def test_no_answer_at_all_is_an_error_with_its_count() -> None:
    outcome = Latency().parse(answer(rtt_ns=[], user_ns=[], sent=7, lost=7), "", 0)
    assert outcome.error == "none of 7 probes was answered"
    assert outcome.lost == 7


def test_a_prober_that_failed_is_quoted() -> None:
    outcome = Latency().parse("", "OSError: [Errno 19] No such device", 1)
    assert outcome.error is not None and "status 1" in outcome.error
    assert "No such device" in outcome.error


@given(st.text() | st.integers(0, len(answer()) - 1).map(lambda cut: answer()[:cut]))
def test_what_is_no_answer_is_an_error_and_never_raises(text: str) -> None:
    assert Latency().parse(text, "", 0).error is not None


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [
        (1, 0.999, 1),
        (2, 0.5, 1),
        (10, 0.9, 9),
        (1000, 0.999, 999),
        (1001, 0.999, 1000),
        (3, 0.5, 2),
    ],
)
def test_nearest_rank(n: int, q: float, rank: int) -> None:
    assert nearest_rank(range(1, n + 1), q) == rank


@given(st.lists(st.integers(1, 10**10), min_size=1), st.floats(0.001, 1))
def test_a_quantile_is_a_value_with_enough_values_at_or_below_it(
    values: list[int], q: float
) -> None:
    value = nearest_rank(sorted(values), q)
    assert value in values
    at_or_below = sum(other <= value for other in values)
    assert at_or_below >= q * len(values) - 1e-6


@given(st.lists(st.integers(1, 10**10), min_size=1))
def test_the_summary_is_ordered(values: list[int]) -> None:
    summary = list(summarise(values).values())
    assert summary == sorted(summary)
    assert summary[0] * 1000 == pytest.approx(min(values))
    assert summary[-1] * 1000 == pytest.approx(max(values))


@pytest.mark.parametrize(
    "wrong",
    [
        *(partial(Latency, count=0), partial(Latency, warmup=-1), partial(Latency, payload=1473)),
        *(partial(Latency, interval=-1), partial(Latency, timeout=0)),
        partial(Latency, interval=0),
        # 100,000 under way, of 65,536 sequence numbers
        partial(Latency, interval=0.00001, timeout=1),
    ],
)
def test_nonsense_is_refused_before_anything_runs(wrong: Callable[[], Latency]) -> None:
    with pytest.raises(ConfigError, match="latency"):
        wrong()


def test_workloads_are_chosen_by_name_and_a_wrong_name_is_shown() -> None:
    assert select(("udp", "latency", "udp")) == ("udp", "latency")
    assert NAMES[:5] == USUAL == ("tcp-tx", "tcp-rx", "tcp-bidir", "udp", "latency")
    with pytest.raises(ConfigError, match="'tcp'") as caught:
        select(("tcp",))
    assert "tcp-bidir" in caught.value.remedy
