"""iperf3's JSON, read from output of real runs (iperf3 3.18 over a veth pair; udp_loss with netem).

The only change to the captured files: the machine's name and kernel in `system_info`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import ConfigError
from harness.core.metrics import METRICS
from harness.core.units import Clock, Fidelity
from harness.qualify.traffic.streams import datagrams
from harness.workloads import SUMMARISED, USUAL, USUAL_ON_HARDWARE, fitted
from harness.workloads.base import Idle, ParsedOutput, Target
from harness.workloads.iperf3 import Iperf3, Kind
from harness.workloads.iperf3_output import End, Sum, Unusable, read_document
from harness.workloads.iperf3_version import at_odds, parse_version, recorded, require
from harness.workloads.traffic import Traffic
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "iperf3"
TARGET = Target("10.9.0.2", "52:54:00:00:02:01", "10.9.0.1", "52:54:00:00:01:02", "enp2s0")
KINDS: tuple[Kind, ...] = ("tcp-tx", "tcp-rx", "tcp-bidir", "udp")


def captured(name: str) -> str:
    return (DATA / f"{name}.json").read_text()


def parse(kind: Kind, name: str) -> ParsedOutput:
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


def test_no_loss_beside_bytes_that_did_not_arrive_is_no_result() -> None:
    """Client 3.18, server 3.12, which had counted 47,545 of 69,521 lost (68.4 %)."""
    outcome = parse("udp", "iperf3-318-client-312-server-udp")
    assert outcome.metrics == {}
    assert "reports 0 of 69521 datagrams lost (0 %)" in (outcome.error or "")
    assert "47545 did not arrive (68.4 %)" in (outcome.error or "")


def udp(sent: int, arrived: int, lost: int, *, size: int = 1200) -> ParsedOutput:
    """The outcome of a document with these counts of datagrams."""
    document = json.loads(captured("udp_loss"))
    end = document["end"]
    end["sum_sent"] |= {"bytes": sent * size, "packets": sent}
    end["sum_received"] |= {"bytes": arrived * size, "packets": sent}
    end["sum_received"] |= {"lost_packets": lost, "lost_percent": 100 * lost / sent}
    return Iperf3("udp").parse(json.dumps(document), "", 0)


@pytest.mark.parametrize(
    ("sent", "arrived", "lost"),
    [(200, 200, 0), (200, 190, 10), (200, 195, 0), (50_000, 20_000, 29_200), (50_000, 49_100, 0)],
)
def test_what_is_unread_when_a_test_ends_is_no_contradiction(
    sent: int, arrived: int, lost: int
) -> None:
    outcome = udp(sent, arrived, lost)
    assert outcome.error is None
    assert outcome.metrics["loss"] == pytest.approx(100 * lost / sent)
    assert outcome.lost_bytes == (sent - arrived) * (1200 + 42)


@pytest.mark.parametrize(
    ("sent", "arrived", "lost"), [(200, 180, 0), (50_000, 48_500, 0), (200, 200, 50), (200, 18, 9)]
)
def test_more_than_that_is(sent: int, arrived: int, lost: int) -> None:
    outcome = udp(sent, arrived, lost)
    assert outcome.error is not None and f"{lost} of {sent} datagrams" in outcome.error


@pytest.mark.parametrize("count", [-1, 4294967294, 2**31])
def test_retransmits_that_cannot_be_are_no_result(count: int) -> None:
    """iperf3 3.1 printed -1, and 4294967294 (esnet/iperf issue 725)."""
    document = json.loads(captured("iperf3-31-retransmits"))
    document["end"]["sum_sent"]["retransmits"] = count
    outcome = Iperf3("tcp-rx").parse(json.dumps(document), "", 0)
    assert outcome.metrics == {}
    assert f"reports {count} retransmits, which cannot be" in (outcome.error or "")


@pytest.mark.parametrize("way", ["sum_sent", "sum_sent_bidir_reverse"])
def test_nor_are_they_of_either_of_two_directions(way: str) -> None:
    document = json.loads(captured("tcp_bidir"))
    document["end"][way]["retransmits"] = -1
    outcome = Iperf3("tcp-bidir").parse(json.dumps(document), "", 0)
    assert "which cannot be" in (outcome.error or "")


def test_a_direction_that_is_overwritten_by_the_other_is_no_result() -> None:
    """3.7 to 3.10.1 print both directions of --bidir under the same keys."""
    for kind in KINDS:
        outcome = parse(kind, "iperf3-39-bidir")
        assert "'sum' twice" in (outcome.error or "")
    with pytest.raises(Unusable, match="twice"):
        read_document(captured("iperf3-39-bidir"))


def test_a_key_that_nobody_reads_may_be_there_twice() -> None:
    """3.11 to 3.13 repeat the sizes of the sockets with --bidir; captured from 3.12."""
    assert captured("tcp_bidir_312").count('"sndbuf_actual"') == 2
    outcome = parse("tcp-bidir", "tcp_bidir_312")
    assert outcome.error is None
    assert outcome.metrics["throughput_tx"] > 9 and outcome.metrics["throughput_rx"] > 9


def test_udp_of_39_which_has_no_sum_of_what_was_received_is_no_result() -> None:
    assert "sum_sent is missing" in (parse("udp", "iperf3-39-udp").error or "")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_result(word: str) -> None:
    text = captured("tcp").replace("26.85132209654344", word)
    assert Iperf3("tcp-rx").parse(text, "", 0).error is not None


@pytest.mark.parametrize(
    ("sent", "arrived", "counted", "lost"),
    [(200, 200, 0, 0), (200, 198, 0, 0), (200, 18, 0, 182), (200, 18, 180, 180), (201, 199, 1, 1)],
)
def test_a_case_counts_the_datagrams_that_no_end_tells_of(
    sent: int, arrived: int, counted: int, lost: int
) -> None:
    """91 % lost passed, where the client was newer than its server."""
    ends = Sum(sent * 1200, 1e6), Sum(arrived * 1200, 1e6, lost_packets=counted)
    assert datagrams(End(*ends), 1200) == (sent, lost)


def test_a_case_sees_the_loss_of_a_newer_client() -> None:
    end = read_document(captured("iperf3-318-client-312-server-udp")).end
    assert datagrams(end, 1200) == (69520, 47544)


def test_versions_are_read_as_iperf3_prints_them() -> None:
    assert parse_version("iperf 3.12 (cJSON 1.7.15)\nLinux vm 6.18.44") == (3, 12)
    assert parse_version("iperf 3.10.1") == (3, 10, 1)
    assert parse_version("iperf 3.17+ (cJSON 1.7.15)") == (3, 17)
    assert parse_version("sh: iperf3: not found") == ()
    assert require("iperf 3.11", "alpha") == (3, 11)
    with pytest.raises(ConfigError, match="alpha: iperf3 version 'who knows' is too old"):
        require("who knows", "alpha")


@pytest.mark.parametrize(
    ("client", "server", "refused"),
    [  # each was run, with most of the datagrams lost
        ((3, 12), (3, 12), False),
        ((3, 12), (3, 18), False),
        ((3, 13), (3, 21), False),
        ((3, 14), (3, 13), True),
        ((3, 18), (3, 12), True),
        ((3, 21), (3, 13), True),
        ((3, 18), (3, 14), False),
        ((3, 21), (3, 21), False),
    ],
)
def test_a_client_that_drops_its_servers_losses_is_refused(
    client: tuple[int, ...], server: tuple[int, ...], refused: bool
) -> None:
    assert bool(at_odds(client, server)) is refused


def test_udp_has_no_warm_up_of_which_nobody_tells_the_loss() -> None:
    assert "--omit" not in Iperf3("udp").command(TARGET).argv
    assert "omit" not in Iperf3("udp").parameters and "omit" in Iperf3("tcp-rx").parameters


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
    outputs: dict[Kind, str] = {"tcp-rx": "tcp", "tcp-bidir": "tcp_bidir", "udp": "udp"}
    for kind, name in outputs.items():
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
    "wrong", [{"seconds": 0}, {"omit": -1}, {"parallel": 0}, {"rate": -1}, {"port": -1}]
)
def test_nonsense_is_refused_before_anything_runs(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tcp-rx"):
        Iperf3("tcp-rx", **wrong)


def test_idle_is_a_workload_too() -> None:
    idle = Idle(1.5)
    assert idle.command(TARGET).argv == ("sleep", "1.5")
    assert idle.parse("", "", 0) == ParsedOutput()
    assert idle.parse("", "", -15).error is not None


def test_an_emulated_host_gets_the_time_that_its_clock_takes() -> None:
    """On a busy machine a test of a second took 75 of the world's there, and was ended."""
    emulated = fitted("udp", "wall", fidelity="nested-tcg", traffic=Traffic(udp_rate="7"))
    assert emulated.command(TARGET).timeout > 600
    assert emulated.parameters["rate"] == "7000000"
    assert fitted("udp", "wall", fidelity="hardware").command(TARGET).timeout < 60


def test_hardware_has_time_for_a_fast_link_and_a_lab_what_it_had() -> None:
    def parameters(name: str, clock: Clock, fidelity: Fidelity) -> dict[str, str]:
        return fitted(name, clock, fidelity=fidelity).parameters

    assert parameters("tcp-tx", "wall", "hardware") == {
        "seconds": "10", "omit": "2", "parallel": "1",
    }  # fmt: skip
    assert parameters("tcp-rx-4", "wall", "hardware")["parallel"] == "4"
    for fidelity in ("nested-kvm", "nested-tcg"):
        assert parameters("tcp-tx", "wall", fidelity)["seconds"] == "1"
        assert parameters("udp", "wall", fidelity)["seconds"] == "2"
    assert "seconds" not in parameters("tcp-tx", "virtual-smp", "nested-tcg")
    assert set(USUAL_ON_HARDWARE) - set(USUAL) == {"tcp-tx-4", "tcp-rx-4"}
    assert not set(SUMMARISED) - set(USUAL), "a comparison of two configurations has them apart"


@pytest.mark.parametrize("clock", ["wall", "virtual-smp"])
def test_what_is_asked_of_the_traffic_goes_before_what_a_clock_suggests(clock: Clock) -> None:
    def asked(name: str, **traffic: Any) -> dict[str, str]:
        return fitted(name, clock, traffic=Traffic(**traffic)).parameters

    assert asked("tcp-tx", seconds=7, streams=3) | {"omit": ""} == {
        "seconds": "7", "omit": "", "parallel": "3",
    }  # fmt: skip
    assert asked("tcp-rx", size=5) == {"bytes": str(5 << 20), "parallel": "1"}
    assert asked("tcp-rx-4", streams=2)["parallel"] == "4", "as its name says"
    assert asked("udp", udp_rate="unlimited")["rate"] == "unlimited"
    assert asked("udp", udp_rate="9400")["rate"] == "9400000000"
    assert asked("latency", seconds=7, size=None) == fitted("latency", clock).parameters


def test_unlimited_is_what_iperf3_calls_no_bitrate() -> None:
    argv = fitted("udp", "wall", traffic=Traffic(udp_rate="unlimited")).command(TARGET).argv
    assert argv[argv.index("--bitrate") + 1] == "0"


def test_a_slow_transfer_is_given_the_time_that_its_rate_takes() -> None:
    """1 MiB at 10 kbit/s takes 14 minutes, in which nothing is wrong."""
    slow = fitted("udp", "wall", traffic=Traffic(size=1, udp_rate="0.01"))
    assert slow.command(TARGET).timeout > 8 * (1 << 20) / 10_000


@pytest.mark.parametrize("rate", ["", "x", "0", "-1", "nan", "inf", "1e7", "0x10"])
def test_a_rate_that_cannot_be_is_named(rate: str) -> None:
    with pytest.raises(ConfigError, match=r"--udp-rate .*a number from 0\.001 to 1000000, or "):
        Traffic(udp_rate=rate).require_sound()


def test_the_record_says_whose_streams_have_threads() -> None:
    assert recorded((3, 18)) == "3.18, a thread for each stream"
    assert recorded((3, 12)) == "3.12, one thread for all streams"
    assert recorded(()) == "unknown"
