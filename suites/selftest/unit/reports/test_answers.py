"""Which path for what: the answers with which a report begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.records.run import Run
from harness.stats.estimates import Estimate, estimate
from reports.run import answers, frames, tables
from reports.run.answers import Answer
from suites.selftest.support.synthetic_run import make_run


def made(*, paths: tuple[str, ...] = (), workloads: tuple[str, ...] = ()) -> list[Answer]:
    info, trials = make_run(6)
    kept = tuple(
        trial
        for trial in trials
        if trial.path in (paths or info.paths) and trial.workload in (workloads or info.workloads)
    )
    run = Run(info, kept)
    return answers.answers(run, tables.estimates(frames.per_boot(frames.measurements(run))))


def test_each_figure_by_which_one_chooses_has_its_paths_in_order() -> None:
    found = {(each.workload, each.metric): [path for path, _ in each.ranked] for each in made()}
    assert found["tcp-tx", "throughput"] == [
        "virtio", "virtio-vhost", "sriov", "passthrough", "e1000e",
    ]  # fmt: skip
    assert found["latency", "rtt_p50"][0] == "sriov"
    assert found["tcp-tx", "exits_per_packet"][0] == "sriov"
    assert all("native" not in ranked for ranked in found.values()), "it is no path into a guest"


@pytest.mark.parametrize("paths", [("sriov",), ("native", "sriov")])
def test_one_path_is_no_answer(paths: tuple[str, ...]) -> None:
    assert made(paths=paths) == [] and answers.headline([]) == ""


def ranked(metric: str, workload: str, **values: tuple[float, ...]) -> Answer:
    figures = {path: estimate(list(each)) for path, each in values.items()}
    return Answer(workload, metric, list(figures.items()))


def test_what_overlaps_the_best_is_named_beside_it() -> None:
    close = ranked(
        "rtt_p50", "latency", sriov=(19.0, 21.0), passthrough=(20.0, 22.0), virtio=(95.0,)
    )
    assert close.best == ("sriov", "passthrough") and close.decides
    assert answers.headline([close]) == "Shortest round trip: sriov or passthrough"
    same = ranked("rtt_p50", "latency", sriov=(19.0, 21.0), passthrough=(20.0, 22.0))
    assert not same.decides and answers.headline([same]) == ""


def test_workloads_are_named_where_they_differ() -> None:
    tx = ranked("throughput", "tcp-tx", sriov=(9.0,), virtio=(7.0,))
    rx = ranked("throughput", "tcp-rx", virtio=(5.0,), sriov=(3.0,))
    assert answers.headline([tx, rx]) == "Most throughput: sriov (tcp-tx), virtio (tcp-rx)"
    assert answers.headline([tx, replace(tx, workload="tcp-rx")]) == "Most throughput: sriov"


def test_nothing_is_divided_by_zero() -> None:
    none: Estimate = estimate([0.0])
    info, trials = make_run(2)
    shown = answers.table(
        Run(info, trials),
        [Answer("tcp-tx", "exits_per_packet", [("sriov", none), ("e1000e", estimate([0.1]))])],
    )
    assert shown is not None and shown.rows[0][3].text == "e1000e"
