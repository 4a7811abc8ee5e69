"""iperf3's JSON, read from output of real runs (iperf3 3.18 over a veth pair; udp_loss with netem).

The only change to the captured files: the machine's name and kernel in `system_info`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.units import METRICS
from harness.workloads.base import Idle, Outcome, Target
from harness.workloads.iperf3 import Iperf3, Kind, Unusable, read_document

DATA = Path(__file__).parent / "data" / "iperf3"
TARGET = Target("10.9.0.2", "52:54:00:00:02:01", "10.9.0.1", "52:54:00:00:01:02", "enp2s0")
KINDS: tuple[Kind, ...] = ("tcp-tx", "tcp-rx", "tcp-bidir", "udp")


def captured(name: str) -> str:
    return (DATA / f"{name}.json").read_text()


def parse(kind: Kind, name: str) -> Outcome:
    return Iperf3(kind).parse(captured(name), "", 0)


def test_the_receivers_figure_is_the_throughput() -> None:
    outcome = parse("tcp-rx", "tcp")
    assert outcome.error is None
    assert outcome.metrics["throughput"] == pytest.approx(5079.740279040858)
    assert outcome.metrics["throughput_sent"] == pytest.approx(5070.09651606354)
    assert outcome.metrics["retransmits"] == 3011
    assert outcome.metrics["partner_cpu"] == pytest.approx(26.85132209654344)
    assert outcome.metrics["guest_iperf3_cpu"] == pytest.approx(30.4103441557667)


def test_bytes_hold_the_warm_up_that_the_sums_leave_out() -> None:
    outcome = parse("tcp-rx", "tcp")
    assert outcome.received_bytes == 603586560 + 1274937344
    assert outcome.sent_bytes is None


def test_reverse_bytes_are_what_the_partner_received() -> None:
    outcome = parse("tcp-tx", "tcp_reverse")
    assert outcome.error is None
    assert outcome.sent_bytes == 733478912 + 1283457024
    assert outcome.received_bytes is None
    assert outcome.metrics["throughput"] == pytest.approx(5140.58796917947)
    assert outcome.metrics["retransmits"] == 3277


def test_bidir_keeps_the_directions_apart() -> None:
    outcome = parse("tcp-bidir", "tcp_bidir")
    assert outcome.error is None
    assert outcome.metrics["throughput_tx"] == pytest.approx(5076.522747795583)  # client received
    assert outcome.metrics["throughput_rx"] == pytest.approx(4483.877493072543)
    assert outcome.metrics["throughput"] == pytest.approx(5076.522747795583 + 4483.877493072543)
    assert outcome.metrics["retransmits"] == 48 + 46
    assert outcome.sent_bytes == 716832768 + 757858304 + 511967232
    assert outcome.received_bytes == 791281664 + 1121583104


def test_parallel_streams_are_summed() -> None:
    outcome = parse("tcp-bidir", "tcp_parallel_bidir")
    assert outcome.metrics["throughput_rx"] == pytest.approx(4104.532952216482)
    assert outcome.sent_bytes == 777256960 + 678952960


def test_udp_loss_and_jitter_are_the_receivers() -> None:
    outcome = parse("udp", "udp_loss")
    assert outcome.error is None
    assert outcome.metrics["loss"] == pytest.approx(4.011627906976744)
    assert outcome.metrics["jitter"] == pytest.approx(1059.8739168508755)  # us
    assert outcome.metrics["throughput"] == pytest.approx(9.489094593377266)
    assert outcome.metrics["throughput_sent"] == pytest.approx(9.91409221117642)
    assert "retransmits" not in outcome.metrics


def test_a_loss_that_cannot_be_is_no_result() -> None:
    """Printed by a real run of 100 Mbit/s into a guest that managed 10: 105 % lost."""
    outcome = parse("udp", "udp_impossible_loss")
    assert "loss of 104.997 %" in (outcome.error or "")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("killed_server", "control socket has closed unexpectedly"),
        ("refused", "Connection refused"),
        ("unreachable", "timed out"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_inside_the_json_counts_whatever_the_status(
    kind: Kind, name: str, word: str
) -> None:
    outcome = parse(kind, name)
    assert outcome.error is not None and word in outcome.error
    assert outcome.metrics == {}
    assert outcome.raw["iperf3"] == captured(name)


def test_an_empty_end_is_no_result_even_without_an_error() -> None:
    document = json.loads(captured("killed_server"))
    del document["error"]
    outcome = Iperf3("tcp-rx").parse(json.dumps(document), "", 0)
    assert outcome.error is not None and "is missing" in outcome.error


def test_a_one_way_result_is_not_taken_for_a_bidirectional_one() -> None:
    outcome = parse("tcp-bidir", "tcp")
    assert outcome.error is not None and "bidir_reverse" in outcome.error


def test_no_output_says_how_the_command_ended() -> None:
    outcome = Iperf3("tcp-rx").parse("", "iperf3: not found", 127)
    assert outcome.error == "iperf3 ended with status 127: iperf3: not found"
    killed = Iperf3("tcp-rx").parse("", "", None)
    assert killed.error is not None and "killed" in killed.error


@given(
    st.sampled_from(["tcp", "tcp_bidir", "udp_loss"]), st.floats(0, 0.999), st.sampled_from(KINDS)
)
def test_truncated_output_is_never_a_result(name: str, share: float, kind: Kind) -> None:
    text = captured(name).rstrip()
    outcome = Iperf3(kind).parse(text[: int(len(text) * share)], "", 0)
    assert outcome.error is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SUM = st.dictionaries(st.sampled_from(["bytes", "bits_per_second", "retransmits"]), JSON)
END = st.dictionaries(st.sampled_from(["sum_sent", "sum_received", "cpu_utilization_percent"]), SUM)


@given(st.text() | JSON.map(json.dumps) | END.map(lambda end: json.dumps({"end": end})))
def test_strange_output_raises_only_unusable(text: str) -> None:
    with suppress(Unusable):
        read_document(text)
    for kind in KINDS:
        outcome = Iperf3(kind).parse(text, "", 0)
        assert outcome.error is not None or outcome.metrics


def test_metrics_have_units() -> None:
    for kind, name in (("tcp-rx", "tcp"), ("tcp-bidir", "tcp_bidir"), ("udp", "udp")):
        assert parse(kind, name).metrics.keys() <= METRICS.keys()


def test_the_client_runs_beside_the_partner_and_names_the_direction() -> None:
    def argv(kind: Kind) -> tuple[str, ...]:
        return Iperf3(kind, seconds=3, rate=5_000_000).command(TARGET).argv

    assert argv("tcp-tx")[-1] == "--reverse"  # the guest sends
    assert {"--reverse", "--bidir", "--udp"}.isdisjoint(argv("tcp-rx"))
    assert argv("tcp-bidir")[-1] == "--bidir"
    assert argv("udp")[-3:] == ("--udp", "--bitrate", "5000000")
    for kind in KINDS:
        words = argv(kind)
        assert words[words.index("--client") + 1] == "10.9.0.2"
        assert words[words.index("--bind") + 1] == "10.9.0.1"
        assert words[words.index("--time") + 1] == "3"


def test_parameters_tell_the_rate_of_udp_only() -> None:
    assert Iperf3("udp", rate=7).parameters["rate"] == "7"
    assert "rate" not in Iperf3("tcp-rx").parameters


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"omit": -1}, {"parallel": 0}, {"rate": 0}, {"port": -1}]
)
def test_nonsense_is_refused_before_anything_runs(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="tcp-rx"):
        Iperf3("tcp-rx", **wrong)


def test_idle_is_a_workload_too() -> None:
    idle = Idle(1.5)
    assert idle.command(TARGET).argv == ("sleep", "1.5")
    assert idle.parse("", "", 0) == Outcome()
    assert idle.parse("", "", -15).error is not None
