"""What reports make of round trips: whose stamps they have, which percentiles are told, what is
lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.comparison.outcome import against, compare
from harness.core.errors import ConfigError
from harness.records.history.summaries import Summary
from harness.records.ratios import values_of
from harness.records.run import Run
from harness.records.trial import CLIENT, SERVER, STAMPS, USER, TrialRecord
from reports.history import trend
from reports.run import document, frames, tables
from suites.selftest.support.synthetic_run import make_run, write_run

KERNEL = "kernel software"
SCHEDULE = {"count": "1000", "schedule": "fixed, one in every 1000 us", "timeout": "1"}
OLDER = {"count": "500", "warmup": "20", "payload": "56", "interval": "0.001", "timeout": "1"}
"""Parameters of a prober that sent a probe when the one before had been answered."""


def latencies(
    change: Callable[[TrialRecord], TrialRecord], *, boots: int = 6, seed: int = 1
) -> Run:
    """A made-up run of latency and TCP, its trials of latency changed."""
    workloads = ("tcp-tx", "latency")
    info, trials = make_run(boots=boots, paths=("sriov",), workloads=workloads, seed=seed)
    info = replace(info, run=f"made-up-{seed}", created=f"2026-01-{seed:02}T00:00:00+00:00")
    changed = (change(trial) if trial.workload == "latency" else trial for trial in trials)
    return Run(info, tuple(changed))


def stamped(by: str, *, seed: int = 1) -> Run:
    return latencies(
        lambda trial: replace(trial, instruments={STAMPS: by}, parameters=SCHEDULE), seed=seed
    )


def test_runs_of_different_stamps_are_not_compared() -> None:
    """The prober's own clock adds 25 to 61 us, which would be a regression."""
    with pytest.raises(ConfigError, match="differ in time stamps: 'kernel software', 'user'") as no:
        compare(stamped(KERNEL), stamped(USER, seed=2))
    assert no.value.remedy.endswith("--across 'time stamps'")
    assert compare(stamped(KERNEL), stamped(USER, seed=2), ("time stamps",)).changes
    assert compare(stamped(USER), stamped(USER, seed=2)).changes


def test_a_series_of_other_stamps_is_no_baseline_and_no_line_in_its_figure() -> None:
    series = [stamped(USER, seed=seed) for seed in range(1, 7)]
    with pytest.raises(ConfigError, match="differ in time stamps"):
        against(series[::-1], stamped(KERNEL, seed=8), "main")
    runs = map(Summary.of, [*series, stamped(KERNEL, seed=8)])
    panel, *more = trend.panels(runs, "rtt_p50")
    assert not more and len(panel.points) == 1
    assert set(panel.left_out.values()) == {("time stamps",)}


def test_runs_without_a_prober_in_common_differ_in_no_stamps() -> None:
    tcp_only = stamped(KERNEL)
    tcp_only = Run(tcp_only.info, tuple(t for t in tcp_only.trials if t.workload == "tcp-tx"))
    assert compare(tcp_only, stamped(USER, seed=2)).changes


def test_records_of_older_versions_tell_their_stamps_by_what_the_prober_said() -> None:
    def older(source: str, seed: int) -> Run:
        raw = {"rtt_source": source}
        return latencies(lambda t: replace(t, raw=raw, parameters=OLDER), seed=seed)

    with pytest.raises(ConfigError, match="time stamps: 'kernel software', 'user'"):
        compare(older("kernel-software", 1), older("user", 2))
    assert compare(older("user", 1), older("user", 2)).changes
    with pytest.raises(ConfigError, match="workload parameters"):
        compare(older("kernel-software", 1), stamped(KERNEL, seed=2))  # scheduled otherwise


def trial(**changes: object) -> TrialRecord:
    found = next(t for t in stamped(KERNEL).trials if t.workload == "latency")
    return replace(found, **changes)


def test_percentiles_of_older_records_are_told_only_if_their_probes_allow() -> None:
    rtt = tuple(range(1000, 501_000, 1000))
    flattering = {
        "rtt_p50": 1.0,
        "rtt_p99": 495.0,
        "rtt_p999": 500.0,
        "rtt_max": 500.0,
        "loss": 0.0,
    }
    older = values_of(trial(metrics=flattering, rtt_ns=rtt, parameters=OLDER))
    assert older["rtt_p50"] == 250 and older["rtt_p90"] == 450 and older["loss"] == 0
    assert not {"rtt_p99", "rtt_p999"} & older.keys()
    tenth_lost = values_of(trial(metrics=flattering, rtt_ns=rtt, lost=100, parameters=OLDER))
    assert tenth_lost["rtt_p50"] == 300 and tenth_lost["rtt_p90"] == 1_000_000
    newer = values_of(trial(metrics=flattering, rtt_ns=rtt, parameters=SCHEDULE))
    assert newer["rtt_p999"] == 500, "what a record of today has was judged when it was made"


def test_a_percentile_beyond_the_wait_is_marked_and_drawn(tmp_path: Path) -> None:
    def lossy(each: TrialRecord) -> TrialRecord:
        metrics = each.metrics | {"rtt_p99": 1_000_000.0, "loss": 20.0}
        lost = len(each.rtt_ns) // 4
        return replace(each, metrics=metrics, lost=lost, parameters=SCHEDULE)

    run = latencies(lossy)
    found = tables.estimates(frames.per_boot(frames.measurements(run)))
    (latency,) = (table for table in tables.by_workload(run, found) if table.title == "latency")
    cells = {row[0].text.split("\N{NO-BREAK SPACE}")[0]: row[1].text for row in latency.rows}
    assert cells["RTT, p99"].startswith("≥") and not cells["RTT, median"].startswith("≥")
    assert "counts as 1,000,000" in tables.figures_note(run, found)
    lost = next(t for t in run.trials if t.workload == "latency")
    assert frames.round_trips(lost)[-1] == 1e9
    assert len(frames.round_trips(lost)) == len(lost.rtt_ns) + lost.lost
    document.render(write_run(tmp_path / "run", run.info, run.trials))
    assert "as long as it waited" in (tmp_path / "run" / "report.md").read_text()


def test_a_report_says_what_measured(tmp_path: Path) -> None:
    run = stamped(USER)
    ends = {CLIENT: "3.12", SERVER: "3.18"}
    trials = [replace(t, instruments=ends) if t.workload == "tcp-tx" else t for t in run.trials]
    document.render(write_run(tmp_path / "run", run.info, trials))
    text = (tmp_path / "run" / "report.md").read_text()
    assert "user (the prober's own clock: 25 to 61 us more" in text
    assert "3.12" in text and "iperf3 of the guest" in text
    assert "fixed, one in every 1000 us" in text


def test_a_floor_of_few_round_trips_has_no_p99() -> None:
    assert "p99" not in document._floor(tuple(range(500)), KERNEL)
    assert "p99" in document._floor(tuple(range(1000)), "")
    assert f"time stamps: {USER}" in document._floor(tuple(range(1000)), USER)
