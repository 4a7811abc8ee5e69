"""The figures of a comparison: what stands where, in which order, and what has no mark."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.comparison.outcome import Comparison, compare, compare_variants
from harness.comparison.verdict import Change
from harness.core.metrics import metric_of
from harness.records.boots import boots_of
from harness.records.run import Run
from harness.records.trial import Failure, TrialRecord
from reports.comparison import blocks, document, forest
from reports.comparison.forest import Row
from reports.comparison.scale import LOOKS, Scale, band, worse_percent
from reports.comparison.words import percent
from suites.selftest.support.synthetic_run import PATHS, make_run

WORKLOADS = ("tcp-tx", "udp", "latency")


def made(seed: int, boots: int = 8, paths: tuple[str, ...] = ("virtio", "sriov")) -> Run:
    run = Run(*make_run(boots, paths=paths, workloads=WORKLOADS, trials=1, seed=seed))
    return Run(msgspec.structs.replace(run.info, run=f"made-{seed}"), run.trials)


def changed(run: Run, change: Callable[[TrialRecord], TrialRecord | None]) -> Run:
    return Run(run.info, tuple(new for each in run.trials if (new := change(each)) is not None))


def slow(trial: TrialRecord) -> TrialRecord:
    """sriov with 40 % less throughput, and round trips that are twice as long; virtio's half."""
    by = {"sriov": (0.6, 2.0), "virtio": (1.0, 0.5)}.get(trial.path, (1.0, 1.0))
    metrics = {
        name: value * (by[0] if name == "throughput" else by[1] if "rtt" in name else 1.0)
        for name, value in trial.metrics.items()
    }
    return msgspec.structs.replace(trial, metrics=metrics)


def without_sriov(run: Run) -> Run:
    failures = tuple(
        Failure(path="sriov", boot=boot, error="QEMU ended") for boot in range(run.info.boots)
    )
    info = msgspec.structs.replace(run.info, failures=failures)
    return Run(info, tuple(each for each in run.trials if each.path != "sriov"))


def interleaved(count: int = 8, planned: int = 10) -> Run:
    """`slow` beside what it was, block by block."""
    run = made(1, count)
    both = [
        msgspec.structs.replace(each, variant=variant)
        for trial in run.trials
        for variant, each in (("a", trial), ("b", slow(trial)))
    ]
    info = msgspec.structs.replace(run.info, boots=planned, variants={"a": {}, "b": {"vfio": "x"}})
    return Run(info, tuple(both))


@pytest.fixture(scope="module")
def slower() -> Comparison:
    return compare(made(1), changed(made(2), slow))


def drawn(outcome: Comparison) -> Figure:
    made_figure = forest.draw(outcome)
    assert made_figure is not None
    return made_figure[0]


def marks(figure: Figure) -> dict[str, Line2D]:
    """Marks by what they stand for, from the top."""
    found = [line for axes in figure.axes for line in axes.lines if line.get_gid()]
    return {str(line.get_gid()): line for line in sorted(found, key=lambda line: place(line)[1])}


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """Of a line: x, y."""
    x, y = (np.asarray(axis, dtype=np.float64).tolist() for axis in line.get_data())
    return x, y


def place(line: Line2D) -> tuple[float, float]:
    """Of a mark."""
    (x,), (y,) = points(line)
    return x, y


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def by_name(outcome: Comparison) -> Mapping[str, Change]:
    return {change.name: change for change in outcome.changes}


def test_each_mark_is_where_its_number_is_and_right_is_worse(slower: Comparison) -> None:
    found, changes = marks(drawn(slower)), by_name(slower)
    assert {change.name for change in slower.primary} <= found.keys()
    for name, line in found.items():
        change = changes[name]
        by = 100 * (change.shift.ratio - 1)
        assert place(line)[0] == pytest.approx(-by if "throughput" in name else by), name
        assert line.get_marker() == LOOKS[change.verdict].marker
        assert line.get_markeredgecolor() == LOOKS[change.verdict].colour
    assert 35 < place(found["sriov/tcp-tx/throughput"])[0] < 45, "less of it is worse"
    assert 80 < place(found["sriov/latency/rtt_p50"])[0] < 120, "more of it is worse"
    assert -60 < place(found["virtio/latency/rtt_p50"])[0] < -40
    assert set(words_of(drawn(slower))) >= {percent(change) for change in slower.primary}


def test_both_ends_of_the_axis_say_what_they_mean(slower: Comparison) -> None:
    figure = drawn(slower)
    (axes,) = figure.axes
    told = [text.get_text() for text in figure.texts]
    assert told.count("\N{LEFTWARDS ARROW} better, %") == 2
    assert told.count("worse, % \N{RIGHTWARDS ARROW}") == 2
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert {"0", "10", "100"} <= set(labels) and not any(label[0] in "+-" for label in labels)


@pytest.mark.parametrize(
    ("metric", "ratio", "worse"),
    [
        ("throughput", 0.88, 12), ("throughput", 1.5, -50), ("rtt_p50", 1.12, 12),
        ("rtt_p50", 0.5, -50), ("loss", float("inf"), float("inf")),
    ],
)  # fmt: skip
def test_worse_is_one_direction(metric: str, ratio: float, worse: float) -> None:
    assert worse_percent(metric, ratio) == pytest.approx(worse)


def test_a_margin_is_the_band_in_which_no_verdict_falls(slower: Comparison) -> None:
    for change in slower.primary:
        low, high = band(change.metric, change.margin)
        inside = low <= worse_percent(change.metric, change.shift.ratio) <= high
        if change.verdict in ("regression", "improvement"):
            assert not inside, change
        if change.verdict == "no change":
            assert inside, change


def test_the_interval_is_drawn_from_end_to_end(slower: Comparison) -> None:
    change = by_name(slower)["sriov/tcp-tx/throughput"]
    (axes,) = drawn(slower).axes
    y = place(marks(drawn(slower))[change.name])[1]
    (line,) = (
        line for line in axes.lines if len(points(line)[0]) == 2 and set(points(line)[1]) == {y}
    )
    ends = sorted(
        worse_percent(change.metric, end) for end in (change.shift.low, change.shift.high)
    )
    assert sorted(points(line)[0]) == pytest.approx(ends)
    assert line.get_linestyle() == "-"


def test_the_worst_is_on_top(slower: Comparison) -> None:
    order, changes = list(marks(drawn(slower))), by_name(slower)
    assert order == [row.change.name for row in forest.rows(slower)[0]]
    verdicts = [changes[name].verdict for name in order if changes[name].primary]
    ranked = ["regression", "undecided", "improvement", "no change"]
    assert verdicts == sorted(verdicts, key=ranked.index) and verdicts[0] == "regression"
    deciding = [changes[name].primary for name in order]
    assert deciding == sorted(deciding, reverse=True), "those that do not decide are below"


def test_how_far_the_interval_lies_beyond_the_margin_decides_who_is_worse(
    slower: Comparison,
) -> None:
    change = by_name(slower)["sriov/tcp-tx/throughput"]

    def row(ratio: float, wide: float) -> Row:
        shift = replace(change.shift, ratio=ratio, low=ratio - wide, high=ratio + wide)
        return Row(replace(change, shift=shift))

    sure, large = row(0.70, 0.01), row(0.65, 0.20)
    assert sorted([large, sure], key=lambda each: each.order) == [sure, large]
    loose = replace(change, verdict="undecided")
    assert Row(change).order < Row(loose).order, "the verdict comes first"


def test_what_is_missing_is_named_and_has_no_mark(tmp_path: Path) -> None:
    outcome = compare(made(1), without_sriov(made(2)))
    lost = [change for change in outcome.primary if change.verdict == "not measured"]
    assert len(lost) == 8
    figure = drawn(outcome)
    told = words_of(figure)
    for change in lost:
        assert f"sriov, {change.workload}: {metric_of(change.metric).label}" in told
    assert told.count("not measured") == len(lost)
    assert not any(name.startswith("sriov/") for name in marks(figure))
    tops = [text.get_position()[1] for text in figure.axes[0].texts if "sriov" in text.get_text()]
    assert max(tops) < min(place(line)[1] for line in marks(figure).values()), "they come first"
    page = document.write(outcome, tmp_path).read_text()
    alt = re.search(r'aria-label="What changed, the worst first\. ([^"]*)"', page)
    assert alt and "sriov, udp: Loss: not measured" in alt[1]
    assert "A figure without a mark is missing on one side" in page


def test_few_boots_are_a_dotted_range_and_one_is_none() -> None:
    outcome = compare(made(1, 2), made(2, 2))
    base, new = boots_of(outcome.base), boots_of(outcome.new)
    shown = {row.change.name: row for row in forest.rows(outcome)[0]}
    row = shown["sriov/latency/rtt_p50"]
    values = [side["sriov", "latency", "rtt_p50"].values() for side in (base, new)]
    ends = min(values[1]) / max(values[0]), max(values[1]) / min(values[0])
    assert row.ends == pytest.approx([100 * (end - 1) for end in ends])
    figure = drawn(outcome)
    y = place(marks(figure)["sriov/latency/rtt_p50"])[1]
    (line,) = (line for line in figure.axes[0].lines if points(line)[1] == [y, y])
    assert line.get_linestyle() == ":"
    alone = compare(made(1, 1), made(2, 1))
    spans = [row.ends for row in forest.rows(alone)[0] if row.change.both]
    assert spans and all(ends is not None and ends[0] == ends[1] for ends in spans)


def test_many_figures_are_counted_but_whatever_changed_has_its_row() -> None:
    base, new = made(1, 8, PATHS), changed(made(2, 8, PATHS), slow)
    outcome = compare(base, new)
    shown, left = forest.rows(outcome)
    assert left and len(outcome.primary) > forest.FEW
    assert {row.change.verdict for row in left} <= {"undecided", "no change"}
    assert not any(row.change.beyond for row in left)
    names = {row.change.name for row in (*shown, *left)}
    assert names >= {change.name for change in outcome.primary}
    told = [text.get_text() for text in drawn(outcome).texts]
    assert any(text.startswith(f"And {len(left)} more that look like no change") for text in told)
    everywhere = compare(base, without_sriov(made(2, 8, ("sriov",))))
    rows, _ = forest.rows(everywhere)
    assert len(rows) > forest.FEW, "what is lost is never left out"


def test_the_exits_that_explain_a_change_stand_beside_it() -> None:
    def trapped(trial: TrialRecord) -> TrialRecord:
        more = tuple(
            msgspec.structs.replace(each, count=3 * each.count) for each in trial.exits or ()
        )
        return slow(msgspec.structs.replace(trial, exits=more))

    outcome = compare(made(1), changed(made(2), trapped))
    change = by_name(outcome)["sriov/tcp-tx/throughput"]
    assert change.exits and "\n".join(change.exits[:2]) in words_of(drawn(outcome))


def test_a_change_from_nothing_ends_at_the_edge() -> None:
    def lossy(by: float) -> Callable[[TrialRecord], TrialRecord]:
        return lambda trial: msgspec.structs.replace(trial, metrics=trial.metrics | {"loss": by})

    outcome = compare(changed(made(1), lossy(0.0)), changed(made(1), lossy(50.0)))
    figure = drawn(outcome)
    x, _ = place(marks(figure)["sriov/udp/loss"])
    assert x == figure.axes[0].get_xlim()[1]
    assert "from none to 50.0 %" in words_of(figure)
    assert Scale.of([float("inf"), 5.0]).high < float("inf")


def test_evidence_ends_with_the_verdict_and_marks_every_look() -> None:
    outcome = compare_variants(interleaved())
    made_figure = blocks.draw(outcome)
    assert made_figure is not None
    figure, entry = made_figure
    found = marks(figure)
    for change in outcome.primary:
        if f"{change.name}@8" not in found:
            continue
        last = found[f"{change.name}@8"]
        assert place(last)[0] == 8 and last.get_marker() == LOOKS[change.verdict].marker
        assert place(last)[1] == pytest.approx(worse_percent(change.metric, change.shift.ratio))
    panels = figure.axes[:-1]
    assert len(panels) == min(len(outcome.primary), blocks.MOST)
    for axes in figure.axes:
        looks = {
            points(line)[0][0]: line.get_linestyle()
            for line in axes.lines
            if points(line)[1] == [0, 1]  # of the axes' height
        }
        assert looks.keys() >= {7.0, 8.0, 9.0, 10.0}
        assert [looks[block] for block in (7.0, 8.0, 9.0, 10.0)] == ["-", "-", ":", ":"]
    assert "sriov, tcp-tx: Throughput: " in entry.figures and "after block 7" in entry.figures
    assert "no look before block 7 can decide" in entry.caption


def test_only_interleaved_runs_have_evidence_block_by_block(slower: Comparison) -> None:
    assert blocks.draw(slower) is None


@pytest.mark.parametrize("pairs", [False, True])
def test_the_report_has_its_pictures_in_words_and_on_disk(
    pairs: bool, slower: Comparison, tmp_path: Path
) -> None:
    outcome = compare_variants(interleaved()) if pairs else slower
    page = document.write(outcome, tmp_path).read_text()
    names = ["changes", "evidence"] if pairs else ["changes"]
    assert sorted(each.name for each in (tmp_path / "figures").glob("*.png")) == [
        f"{name}.png" for name in names
    ]
    texts = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert len(texts) == len(names) and not re.search(r'(src|href)="(?!data:|#)', page)
    for change in outcome.primary:
        if change.verdict == "regression":
            name = f"{change.path}, {change.workload}: {metric_of(change.metric).label}"
            assert f"{name} {percent(change)} [" in texts[0]
    markdown = (tmp_path / "regression.md").read_text()
    assert all(f"`figures/{name}.png`" in markdown for name in names)
