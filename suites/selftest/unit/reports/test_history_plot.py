"""A metric over the runs of the history, drawn and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.hosts.base import CommandResult
from harness.records.history.runs import open_history
from harness.records.history.summaries import Summary
from harness.records.run import Run
from reports.history import trend
from suites.selftest.support.command import nicproof
from suites.selftest.support.synthetic_run import CHARACTERS, make_run


def synthetic(day: int, **changes: object) -> Run:
    """A small run of the given day of January."""
    info, trials = make_run(2, paths=("virtio", "sriov"), workloads=("tcp-tx",), seed=day)
    named = {"run": f"202601{day:02}-080000", "created": f"2026-01-{day:02}T08:00:00+00:00"}
    return Run(msgspec.structs.replace(info, **named, **changes), trials)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """20 runs, oldest first; from the 12th on sriov is slower by 40 per cent."""
    made = [synthetic(day) for day in range(1, 12)]
    slower = replace(CHARACTERS["sriov"], mbit=CHARACTERS["sriov"].mbit * 0.6)
    monkeypatch.setitem(CHARACTERS, "sriov", slower)
    yield made + [synthetic(day) for day in range(12, 21)]


def test_runs_of_another_kind_are_left_out_and_never_mixed_in(runs: list[Run]) -> None:
    other = synthetic(9, options={"virtio": "packed=on"})
    faster = synthetic(10, fidelity="nested-kvm")
    mixed = [*runs[:8], other, faster, *runs[10:]]
    panels = trend.panels(map(Summary.of, mixed), "throughput")
    assert [(panel.path, len(panel.points)) for panel in panels] == [("virtio", 18), ("sriov", 18)]
    for panel in panels:
        assert panel.left_out == {8: ("options",), 9: ("fidelity",)}
    assert list(trend.left_out(panels)) == [
        "2 runs are left out, being unlike the newest in options, fidelity"
    ]


def test_a_run_with_fewer_workloads_is_of_the_same_kind() -> None:
    info, trials = make_run(2, paths=("sriov",), workloads=("tcp-tx", "tcp-rx"), seed=1)
    both = map(Summary.of, (Run(info, trials), synthetic(2)))
    (panel,) = trend.panels(both, "throughput", "sriov", "tcp-tx")
    assert len(panel.points) == 2 and not panel.left_out


def test_few_runs_are_not_called_unchanged(runs: list[Run]) -> None:
    of_few = trend.panels(map(Summary.of, runs[:7]), "throughput")
    assert list(trend.describe(of_few, "throughput")) == [
        f"{path}, tcp-tx: Throughput: too few runs to look for a change, 7 of 8"
        for path in ("virtio", "sriov")
    ]
    of_enough = trend.panels(map(Summary.of, runs[:8]), "throughput")
    assert all("no change over 8 runs" in it for it in trend.describe(of_enough, "throughput"))


def plot(where: Path, *arguments: str) -> CommandResult:
    return nicproof("history", f"--history={where}", "plot", *arguments)


def test_a_metric_is_drawn_and_its_changes_are_told(runs: list[Run], tmp_path: Path) -> None:
    where, png = tmp_path / "history.db", tmp_path / "out.png"
    with open_history(str(where)) as history:
        for run in runs:
            history.add(run.info, run.trials, "main")
    result = plot(where, "throughput", "--name=main", f"--out={png}")
    assert result.returncode == 0, result.error
    flat, changed, figure = result.text.splitlines()
    assert changed.startswith("sriov, tcp-tx: Throughput -")
    assert " with 20260112-080000: " in changed
    assert flat == "virtio, tcp-tx: Throughput: no change over 20 runs"
    assert figure == f"figure: {png}"
    assert png.read_bytes().startswith(b"\x89PNG")
    svg = tmp_path / "out.svg"
    assert plot(where, "throughput", "--path=sriov", f"--out={svg}").returncode == 0
    assert svg.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("througput",), "'througput' is no metric\n  remedy: choose from throughput"),
        (("throughput", "--out=a.pdf"), "--out a.pdf: neither .png nor .svg"),
        (("throughput", "--name=none"), "no run of series none has a figure of throughput"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = plot(tmp_path / "history.db", *arguments)
    assert result.returncode == 2
    assert message in result.error
