"""A run judged against a series whose level has changed: by the runs since, figure by figure."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.comparison import baseline
from harness.comparison.outcome import Comparison, against
from harness.comparison.verdict import Change
from harness.hosts.base import CommandResult
from harness.records.history.runs import open_history
from harness.records.history.summaries import Summary
from harness.records.run import Run
from reports.history import trend
from suites.selftest.support.command import program
from suites.selftest.support.synthetic_run import make_run, write_run

RUNS = 24


def run(
    day: int, faster: float = 1.0, paths: tuple[str, ...] = ("sriov",), **changes: object
) -> Run:
    """A run of that day of October, with a throughput on `paths` that is so many times as high."""
    info, trials = make_run(6, paths=("virtio", "sriov"), workloads=("tcp-tx",), seed=day)
    named = {"run": f"202610{day:02}-080000", "created": f"2026-10-{day:02}T08:00:00+00:00"}
    by = dict.fromkeys(paths, faster)
    scaled = tuple(
        msgspec.structs.replace(
            trial, metrics={k: v * by.get(trial.path, 1.0) for k, v in trial.metrics.items()}
        )
        for trial in trials
    )
    return Run(msgspec.structs.replace(info, **named, **changes), scaled)


def stepped(since: int, paths: tuple[str, ...] = ("sriov",)) -> list[Run]:
    """RUNS runs, the oldest first, the last `since` of them faster by a half on `paths`."""
    return [run(day, 1.5 if day > RUNS - since else 1.0, paths) for day in range(1, RUNS + 1)]


def judged(series: list[Run], new: Run) -> Comparison:
    return against(reversed(series), new, "main")


def throughput(outcome: Comparison, path: str = "sriov") -> Change:
    (found,) = (c for c in outcome.primary if (c.path, c.metric) == (path, "throughput"))
    return found


def test_a_step_within_the_last_runs_does_not_hide_a_regression() -> None:
    """Faster by a half 8 runs ago, now slower by 30 per cent: still above the old level."""
    outcome = judged(stepped(8), run(30, 1.5 * 0.7))
    assert throughput(outcome).verdict == "regression"
    assert throughput(outcome).shift.ratio == pytest.approx(0.7, abs=0.05)
    assert throughput(judged(stepped(8), run(30, 1.5))).verdict != "regression"
    assert throughput(judged(stepped(8), run(30, 1.0))).verdict == "regression"


def test_it_says_since_when_and_each_figure_has_its_own_level() -> None:
    outcome = judged(stepped(8), run(30, 1.5))
    since = "8 runs since 2026-10-17, when the level changed by +"
    assert throughput(outcome).baseline.startswith(since)
    assert throughput(outcome, "virtio").baseline == "the last 20 of 24 runs since 2026-10-01"
    usual, other = baseline.describe(outcome.changes)
    assert usual == "baseline: the last 20 of 24 runs since 2026-10-01"
    assert other.startswith(f"baseline of sriov, tcp-tx: Throughput: {since}")


def test_a_level_too_short_is_no_baseline_and_the_older_one_is_not_taken_instead() -> None:
    outcome = judged(stepped(3), run(30, 1.0))
    change = throughput(outcome)
    assert change.verdict == "undecided"
    assert change.why.startswith(
        "no baseline: 3 runs since 2026-10-22, when the level changed by +"
    )
    assert change.why.endswith(": 5 are needed; make 2 more, or compare with the newest of them")
    assert "no baseline" not in throughput(outcome, "virtio").why


def test_the_level_is_the_one_that_the_plot_draws() -> None:
    """Of the same runs: finished ones, of the newest one's kind."""
    series = stepped(8)
    series.insert(20, run(28, 9.0, finished=False))
    series.insert(10, run(29, 9.0, options={"virtio": "packed=on"}))
    (panel,) = trend.panels(map(Summary.of, series), "throughput", "sriov")
    last = panel.levels[-1]
    drawn = [point for point in panel.points[last.first : last.last + 1] if point.finished]
    finished = [each for each in series if each.info.finished]
    change = throughput(judged(finished, run(30, 1.5)))
    assert change.baseline.startswith(f"{len(drawn)} runs since {drawn[0].created[:10]}, when")
    assert change.base == pytest.approx(last.value)


def test_a_figure_that_the_series_no_longer_has_is_not_held_against_it() -> None:
    old = [run(day, paths=("virtio",)) for day in range(1, 4)]
    lately = [
        Run(each.info, tuple(trial for trial in each.trials if trial.path == "sriov"))
        for each in (run(day) for day in range(4, 4 + baseline.LAST))
    ]
    outcome = judged(old + lately, run(30))
    assert {change.path for change in outcome.changes if change.both} == {"sriov"}
    others = {change.verdict for change in outcome.changes if change.path == "virtio"}
    assert others == {"only in new"} and not outcome.failed


def command(*arguments: str) -> CommandResult:
    return program(*arguments, GITHUB_STEP_SUMMARY="")


def test_the_commands_tell_the_same_level(tmp_path: Path) -> None:
    where, new = tmp_path / "history.db", run(30, 1.5 * 0.7)
    with open_history(str(where)) as history:
        for each in stepped(8):
            history.add(each.info, each.trials, "main")
    write_run(tmp_path / "new", new.info, new.trials)
    judging = ("reports.comparison", str(tmp_path / "new"), "--against=main")
    result = command(*judging, f"--history={where}")
    assert result.returncode == 1, result.text + result.error
    since = "8 runs since 2026-10-17, when the level changed by +"
    assert f"\nbaseline of sriov, tcp-tx: Throughput: {since}" in result.text
    out = tmp_path / "new" / "against-main"
    assert since in (out / "regression.html").read_text()
    assert since in (out / "regression.md").read_text()
    answer = json.loads((out / "regression.json").read_text())
    assert any(since in change["baseline"] for change in answer["changes"])
    plotted = command(
        "harness.cli", "history", f"--history={where}", "plot", "throughput", "--name=main",
        "--path=sriov", f"--out={tmp_path / 'a.png'}",
    )  # fmt: skip
    assert " with 20261017-080000: " in plotted.text
