"""Two configurations: what is asked for, how they are interleaved, how they are judged."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness import paths, workloads
from harness.comparison import baseline
from harness.comparison.outcome import Comparison, against, compare, compare_variants
from harness.core.errors import ConfigError
from harness.core.flags import add_to
from harness.core.metrics import METRICS
from harness.measure.plan import interleave
from harness.paths.virtio import VIRTIO
from harness.records import ablation
from harness.records.run import Run
from harness.runs import asked as declared
from harness.runs.asked import Asked
from harness.runs.options import BenchOptions
from harness.runs.variant import Variant, describe, parse
from suites.selftest.support.synthetic_run import PATHS as EVERY_PATH
from suites.selftest.support.synthetic_run import WORKLOADS as EVERY_WORKLOAD
from suites.selftest.support.synthetic_run import make_run

PATHS, WORKLOADS = ("virtio", "sriov"), ("tcp-tx", "latency")


def asked(tmp_path: Path, *words: str) -> BenchOptions:
    parser = argparse.ArgumentParser()
    add_to(parser.add_argument, declared.OPTIONS)
    given = parser.parse_args([*words, f"--run-dir={tmp_path / 'run'}"])
    return BenchOptions.of(Asked.of(given))


def test_one_configuration_is_the_usual_bench(tmp_path: Path) -> None:
    run = asked(tmp_path, "--vfio=x-no-mmap=on")
    assert dict(run.variants) == {"": Variant(vfio="x-no-mmap=on")} and not run.pair
    assert run.recorded() == {"vfio": "x-no-mmap=on"} and run.recorded_variants() == {}
    assert run.boots == declared.BOOTS and "native" in run.paths


def test_two_configurations_share_what_both_are_given(tmp_path: Path) -> None:
    run = asked(tmp_path, "--guest-cpus=2", "--a=", "--b=--virtio packed=on,event_idx=off")
    assert run.pair and run.boots == declared.MAX_BLOCKS
    assert run.recorded() == {"guest-cpus": "2"}
    assert run.recorded_variants() == {"a": {}, "b": {"virtio": "packed=on,event_idx=off"}}
    assert run.paths == ("virtio", "virtio-vhost"), "the paths that the option is about"
    assert run.workloads == workloads.SUMMARISED


def test_traffic_is_of_a_configuration_too_and_a_matter_of_every_path(tmp_path: Path) -> None:
    run = asked(tmp_path, "--streams=2", "--b=--mtu 9000")
    assert run.recorded() == {"streams": "2"}
    assert run.recorded_variants() == {"a": {}, "b": {"mtu": "9000"}}
    assert run.paths == paths.DEFAULT, "native, too"


LAB = """
[host.a]
address = "local"
[[host.a.port]]
bdf = "0000:01:00.0"
partner = "0000:01:00.1"
"""


def test_silicon_is_measured_with_several_streams_beside_one(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(LAB)
    real = f"--lab={tmp_path / 'lab.toml'}"
    assert asked(tmp_path, real).workloads == workloads.USUAL_ON_HARDWARE
    assert asked(tmp_path, "--lab=nested").workloads == workloads.USUAL
    assert asked(tmp_path, real, "--streams=8").workloads == workloads.USUAL, "it was said how many"
    assert asked(tmp_path, real, "--b=--vhost off").workloads == workloads.SUMMARISED
    assert asked(tmp_path, "--workloads=tcp-tx-4").workloads == ("tcp-tx-4",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--a=", "--b=--seconds 3 --size 3"), "--seconds 3 and --size 3: a test ends by one"),
        (("--udp-rate=fast",), "--udp-rate fast: a number from"),
        (("--a=", "--b="), "both are the same configuration"),
        (("--b=--vfoi x",), "unrecognized arguments: --vfoi x"),
        (("--b=--rx-usecs -3",), "--rx-usecs -3: a whole number from 0"),
        (("--b=--guest-image nowhere.qcow2",), "No such file"),
        (("--b=--virtio 'x",), "No closing quotation"),
        (("--ablate=vhost", "--a=--vhost on"), "leave out --a and --b"),
        (("--ablate=mq", "--workloads=tcp-tx"), "nothing is expected of it in tcp-tx"),
        (("--b=--vhost off", "--max-blocks=0"), "--max-blocks 0: a whole number from 1"),
        (("--b=--vhost off", "--decide=sriov/latency/rtt_p50"), "no figure of this run"),
        (("--b=--vhost off", "--decide=latency"), "no figure of this run"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(tmp_path, *words)


@pytest.mark.parametrize("name", ablation.NAMES)
def test_every_ablation_is_two_configurations_and_a_claim(tmp_path: Path, name: str) -> None:
    run = asked(tmp_path, f"--ablate={name}")
    assert run.variants["a"] != run.variants["b"] and run.ablation == name
    for expected in ablation.BY_NAME[name].expected:
        assert METRICS[expected.metric].better == "lower", "so that a regression is more of it"
        assert set(expected.workloads) <= set(run.workloads), "those that it is about are measured"


def test_options_are_told_as_they_are_typed() -> None:
    text = "--guest-append 'nox2apic quiet' --rx-usecs 0"
    variant = parse("a", text, Variant())
    assert parse("a", describe(variant.recorded()), Variant()) == variant
    assert variant.rx_usecs == 0 and variant.recorded()["rx-usecs"] == "0"


def test_each_block_has_each_path_in_both_in_an_order_of_its_own() -> None:
    planned_boots = interleave(PATHS, 8, 1, ("a", "b"))
    orders = set()
    for block in range(8):
        here = [(v.path, v.variant) for v in planned_boots if v.block == block]
        assert sorted(here) == sorted((p, v) for p in PATHS for v in ("a", "b"))
        orders.add(tuple(here))
    assert len(orders) > 4
    assert len({planned.id for planned in planned_boots}) == len(planned_boots)
    assert interleave(PATHS, 8, 1) != planned_boots[:16]


def test_virtio_has_as_many_queues_as_asked_for_and_is_served_as_asked() -> None:
    virtio, vhost = VIRTIO
    netdev, device = vhost.device_args("02::1", Variant(queues=2, vhost="off").path_options)[1::2]
    assert netdev == "tap,id=net0,fds=3:4" and "mq=on,vectors=6" in device
    netdev, device = virtio.device_args("02::1", Variant(vhost="on").path_options)[1::2]
    assert netdev == "tap,id=net0,fd=3,vhost=on" and "mq" not in device


def interleaved(
    slower: float,
    blocks: int = 10,
    seed: int = 1,
    name: str = "",
    paths: Sequence[str] = PATHS,
    workloads: Sequence[str] = WORKLOADS,
    where: Collection[str] = WORKLOADS,
) -> Run:
    """Two configurations, the second with so much less throughput on sriov in some workloads."""
    info, records = make_run(blocks, paths=paths, workloads=workloads, trials=1, seed=seed)
    random = np.random.default_rng(seed)
    both = []
    for record in records:
        noise = float(random.lognormal(0, 0.004))
        worse = record.path == "sriov" and record.workload in where
        factor = 1 - slower if worse else 1.0
        changed = {k: v * factor * noise for k, v in record.metrics.items()}
        both.append(msgspec.structs.replace(record, variant="a"))
        both.append(msgspec.structs.replace(record, variant="b", metrics=changed))
    options_ = {"ablation": name} if name else {}
    info = msgspec.structs.replace(
        info, variants={"a": {}, "b": {"vfio": "x"}}, options={**info.options, **options_}
    )
    return Run(info, tuple(both))


def test_a_run_of_two_configurations_is_no_side_of_another_comparison() -> None:
    run = interleaved(0.0, blocks=2)
    with pytest.raises(ConfigError, match="a run of several configurations"):
        compare(run, run)
    with pytest.raises(ConfigError, match="not a run of two configurations"):
        compare_variants(series(1)[0])


def verdicts(outcome: Comparison) -> dict[tuple[str, str], str]:
    return {(c.path, c.metric): c.verdict for c in outcome.changes if c.metric in ("throughput",)}


def test_pairs_tell_what_boots_that_vary_by_six_per_cent_would_not() -> None:
    outcome = compare_variants(interleaved(0.05))
    assert verdicts(outcome) == {
        ("sriov", "throughput"): "regression",
        ("virtio", "throughput"): "no change",
    }
    assert outcome.failed and (outcome.base_name, outcome.new_name) == ("a", "b")
    assert outcome.new.info.options["vfio"] == "x"


def test_one_bad_figure_among_all_that_a_run_can_have_is_told() -> None:
    run = interleaved(0.5, paths=EVERY_PATH, workloads=EVERY_WORKLOAD, where=("tcp-tx",))
    outcome = compare_variants(run)
    assert len(outcome.primary) > 40
    worse = [change.name for change in outcome.primary if change.verdict == "regression"]
    assert worse == ["sriov/tcp-tx/throughput"]
    assert outcome.count("no change") > 25, "and most others are shown to be as they were"


def test_too_few_pairs_are_undecided_with_advice() -> None:
    outcome = compare_variants(interleaved(0.05, blocks=3))
    assert {change.verdict for change in outcome.primary} == {"undecided"}
    assert all("more of each would decide it" in change.why for change in outcome.primary)


def test_an_ablation_fails_if_it_did_not_do_what_was_expected() -> None:
    outcome = compare_variants(interleaved(0.5, name="x-no-mmap"))
    assert {each.verdict for each in outcome.expectations} == {"it did not"}, "no exit was added"
    assert {change.metric for change in outcome.primary} == {"mmio_exits_per_packet"}
    assert outcome.failed


def test_an_ablation_is_judged_where_something_is_expected_of_it() -> None:
    outcome = compare_variants(interleaved(0.5, name="event_idx"))
    judged = {each.change.workload for each in outcome.expectations}
    assert judged == {change.workload for change in outcome.primary} == {"tcp-tx"}


def series(count: int) -> list[Run]:
    made = [make_run(3, paths=PATHS, workloads=WORKLOADS, seed=seed) for seed in range(count)]
    return [Run(*each) for each in made]


def test_a_run_like_the_others_is_no_regression_and_a_slow_one_is() -> None:
    *earlier, last = series(13)
    outcome = against(earlier, last, "main")
    assert outcome.count("regression") == 0
    assert outcome.base_name == "main (12 runs)"
    slow = tuple(
        msgspec.structs.replace(t, metrics={k: v * 0.6 for k, v in t.metrics.items()})
        for t in last.trials
    )
    outcome = against(earlier, Run(last.info, slow), "main")
    assert verdicts(outcome)["sriov", "throughput"] == "regression"


def test_a_short_series_is_no_baseline_and_another_machine_none_at_all() -> None:
    *earlier, last = series(baseline.FEWEST)
    outcome = against(earlier, last, "main")
    assert {change.verdict for change in outcome.primary} == {"undecided"}
    assert "5 runs are needed, the series has 4" in outcome.primary[0].why
    other = Run(msgspec.structs.replace(last.info, nic="X540 0000:02:00.0"), last.trials)
    with pytest.raises(ConfigError, match="differ in NIC model"):
        against(earlier, other, "main")
    with pytest.raises(ConfigError, match="no other run of that name was finished"):
        against([last], last, "main")
