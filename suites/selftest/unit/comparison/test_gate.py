"""What the gate says of figures that are not there, of small ones, and of those that do not decide.

Runs are made up (synthetic_run), and then robbed of what a test is about.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from fixtures.comparison import pairs
from harness.cli.bench import Suspicion
from harness.comparison.outcome import Comparison, against, compare, compare_variants
from harness.comparison.verdict import Change, margin_of
from harness.core.errors import ConfigError
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.records.run import Run, load
from harness.records.trial import ExitCount, Failure, MissingPath, RunInfo, TrialRecord
from harness.runs.suite import ROOT
from reports.comparison import document, formats, words
from suites.selftest.support.command import nicproof
from suites.selftest.support.synthetic_run import make_run, write_run

PATHS, WORKLOADS = ("virtio", "sriov"), ("tcp-tx", "udp", "latency")

Keep = Callable[[TrialRecord], TrialRecord | None]


def made(seed: int = 1, boots: int = 6, *, paths: Sequence[str] = PATHS) -> Run:
    return Run(*make_run(boots, paths=paths, workloads=WORKLOADS, trials=1, seed=seed))


def without(run: Run, change: Keep, **info: object) -> Run:
    """The run, each trial put through `change`, which may drop it."""
    trials = tuple(kept for each in run.trials if (kept := change(each)) is not None)
    return Run(msgspec.structs.replace(run.info, **info), trials)


def dead(run: Run, path: str = "sriov") -> Run:
    """All boots of a path failed."""
    failures = [
        Failure(path=path, boot=boot, error="QEMU ended: no such property: nonsense\nmore")
        for boot in range(run.info.boots)
    ]
    return without(run, lambda t: None if t.path == path else t, failures=tuple(failures))


def spoilt(run: Run, boots: Sequence[int], path: str = "sriov") -> Run:
    """The trials of these boots are invalid."""

    def spoil(trial: TrialRecord) -> TrialRecord:
        if trial.path != path or trial.boot not in boots:
            return trial
        return msgspec.structs.replace(trial, valid=False, reasons=("driver: none bound",))

    return without(run, spoil)


def measured(run: Run, values: Callable[[TrialRecord], dict[str, float]]) -> Run:
    """The run with other metrics in its trials."""
    return without(run, lambda t: msgspec.structs.replace(t, metrics=t.metrics | values(t)))


def of(outcome: Comparison, verdict: str) -> set[str]:
    return {change.name for change in outcome.primary if change.verdict == verdict}


LOST = {
    f"sriov/{place}"
    for place in (
        "tcp-tx/throughput", "tcp-tx/exits_per_packet", "udp/throughput", "udp/loss",
        "udp/exits_per_packet", "latency/rtt_p50", "latency/loss", "latency/exits_per_packet",
    )
}  # fmt: skip


@pytest.mark.parametrize(
    ("rob", "why"),
    [
        (dead, "new has no valid trial of 6 (6 failed): QEMU ended: no such property: nonsense"),
        (
            lambda run: spoilt(run, range(6)),
            "new has no valid trial of 6 (6 invalid): driver: none bound",
        ),
        (
            lambda run: without(
                run,
                lambda t: None if t.path == "sriov" else t,
                missing=(MissingPath(path="sriov", capability="VFs", why="none to be had"),),
            ),
            "new cannot have this path: VFs: none to be had",
        ),
        (
            lambda run: without(run, lambda t: None if t.path == "sriov" else t, finished=False),
            "new was interrupted before",
        ),
    ],
)
def test_a_path_that_new_lost_is_not_measured(rob: Callable[[Run], Run], why: str) -> None:
    outcome = compare(made(1), rob(made(2)))
    assert of(outcome, "not measured") == LOST
    assert {change.why for change in outcome.primary if change.name in LOST} == {why}
    assert outcome.failed
    message = words.headline(outcome)
    assert message.startswith(
        f"8 of 16 figures are not measured: sriov ({why.partition(': ')[0]}). "
    )
    assert outcome.primary[0].verdict == "not measured"
    back = compare(rob(made(2)), made(1))
    assert of(back, "only in new") == LOST and not back.failed, "that is no regression"
    assert "8 figures are only in new: sriov (base " in words.headline(back)
    assert "No change in any of 16" not in words.headline(back)


def test_a_workload_and_a_metric_are_missed_like_a_path() -> None:
    def rob(trial: TrialRecord) -> TrialRecord | None:
        if (trial.path, trial.workload) == ("sriov", "udp"):
            return None
        return msgspec.structs.replace(trial, exits=None) if trial.path == "virtio" else trial

    outcome = compare(made(1), without(made(2), rob))
    lost = of(outcome, "not measured")
    assert lost == {name for name in LOST if "/udp/" in name} | {
        f"virtio/{load}/exits_per_packet" for load in WORKLOADS
    }
    assert outcome.failed
    message = words.headline(outcome)
    assert "sriov udp (new has no valid trial of 6 (6 failed))" in message
    assert (
        "; virtio latency Exits per packet (HLT apart), virtio tcp-tx Exits per packet" in message
    )
    assert "(new has it in none of its 6 valid trials)" in message


def test_what_lost_every_figure_is_judged_and_what_never_had_one_is_not() -> None:
    gone = without(made(2), lambda _: None)
    outcome = compare(made(1), gone)
    assert outcome.count("not measured") == 16 and outcome.failed
    assert words.headline(outcome).startswith("16 of 16 figures are not measured: ")
    with pytest.raises(ConfigError, match="have no figure in common"):
        compare(gone, made(1))
    with pytest.raises(ConfigError, match="have no figure in common"):
        compare(made(1, paths=("virtio",)), made(2, paths=("e1000e",)))


def test_what_neither_run_has_is_told_unless_no_host_could_have_it() -> None:
    outcome = compare(dead(made(1)), dead(made(2)))
    assert of(outcome, "not measured") == {f"sriov/{load}/every figure" for load in WORKLOADS}
    assert outcome.failed
    lacking = MissingPath(path="sriov", capability="VFs", why="none to be had")
    base, new = (
        without(made(seed), lambda t: None if t.path == "sriov" else t, missing=(lacking,))
        for seed in (1, 2)
    )
    outcome = compare(base, new)
    assert not outcome.count("not measured") and not outcome.failed
    assert "sriov is left out: new cannot have this path: VFs: none to be had" in outcome.warnings


def test_what_new_was_not_asked_for_is_told_apart_and_fails_unless_allowed() -> None:
    base, new = made(1), made(2, paths=("virtio",))
    outcome = compare(base, new)
    assert of(outcome, "not asked for") == LOST and outcome.failed
    assert words.headline(outcome).startswith(
        f"8 of 16 figures are not asked for: sriov ({words.MEANT}). "
    )
    allowed = compare(base, new, across=["paths"])
    assert not of(allowed, "not asked for") and not allowed.failed
    assert "left out: new was not asked for sriov" in allowed.warnings
    fewer = without(
        made(2), lambda t: None if t.workload == "udp" else t, workloads=("tcp-tx", "latency")
    )
    assert compare(base, fewer, across=["paths"]).failed
    assert not compare(base, fewer, across=["workloads"]).failed
    assert not compare(new, base).failed, "more than before is no loss"
    assert "new was not asked for" not in words.headline(compare(new, base))


def test_the_history_misses_what_its_newest_run_was_asked_for() -> None:
    series = [made(seed) for seed in range(6)]
    outcome = against(series, dead(made(9)), "main")
    assert of(outcome, "not measured") == LOST and outcome.failed
    narrow = [made(seed, paths=("virtio",)) for seed in range(20, 26)]
    outcome = against([*narrow, *series], made(9, paths=("virtio",)), "main")
    assert not outcome.failed, "the series has dropped that path"
    assert "left out: new was not asked for sriov" in outcome.warnings
    assert against(series, made(9, paths=("virtio",)), "main").failed


def interleaved(blocks: int, change: Keep = lambda trial: trial, **info: object) -> Run:
    """Two configurations, equal but for what `change` makes of b's trials."""
    run = made(1, blocks)
    both = [
        msgspec.structs.replace(each, variant=variant) for each in run.trials for variant in "ab"
    ]
    kept = tuple(
        new
        for each in both
        for new in [change(each) if each.variant == "b" else each]
        if new is not None
    )
    fields = {"variants": {"a": {}, "b": {"vfio": "x"}}} | info
    return Run(msgspec.structs.replace(run.info, **fields), kept)


def test_ab_sees_a_dead_path_on_either_side_and_on_both() -> None:
    failures = tuple(
        Failure(path="sriov", boot=boot, variant="b", error="QEMU ended") for boot in range(4)
    )

    def rob(trial: TrialRecord) -> TrialRecord | None:
        return None if trial.path == "sriov" else trial

    run = interleaved(6, rob, failures=failures, boots=10)
    outcome = compare_variants(run)
    assert of(outcome, "not measured") == LOST and outcome.failed
    assert outcome.primary[0].why == "new has no valid trial of 6 (6 failed): QEMU ended"
    swapped = msgspec.structs.replace(run.info, variants={"b": {"vfio": "x"}, "a": {}})
    outcome = compare_variants(Run(swapped, run.trials))
    assert of(outcome, "not measured") == LOST and outcome.failed, "a comparison was asked for"
    both = Run(run.info, tuple(each for each in run.trials if each.path == "virtio"))
    outcome = compare_variants(both)
    assert of(outcome, "not measured") == {f"sriov/{load}/every figure" for load in WORKLOADS}


def test_blocks_without_a_partner_are_no_pairs_and_not_nothing() -> None:
    run = interleaved(6)
    halves = tuple(
        each
        for each in run.trials
        if each.path == "virtio" or (each.block % 2 == 0) == (each.variant == "a")
    )
    outcome = compare_variants(Run(run.info, halves))
    assert of(outcome, "undecided") >= LOST
    assert "no block in which both sides have it" in outcome.primary[0].why


def test_a_figure_that_was_named_to_decide_has_to_be_there() -> None:
    run = interleaved(8)
    named = "sriov/udp/throughput,sriov/udp/jitter,sriov/tcp-tx/rtt_p50"
    options = run.info.options | {"deciding": named}
    outcome = compare_variants(Run(msgspec.structs.replace(run.info, options=options), run.trials))
    assert {change.name for change in outcome.primary} == set(named.split(","))
    assert of(outcome, "not measured") == {"sriov/tcp-tx/rtt_p50"} and outcome.failed


def test_an_ablation_whose_figure_is_not_there_fails() -> None:
    run = interleaved(
        8, lambda t: msgspec.structs.replace(t, exits=None), options={"ablation": "x-no-mmap"}
    )
    outcome = compare_variants(run)
    assert outcome.failed
    assert {each.verdict for each in outcome.expectations} == {"not measured"}
    assert "not measured" in words.headline(outcome)


def test_lost_trials_are_counted_told_and_doubted() -> None:
    """Boots vary by half a per cent in throughput: "no change" needs them, and not only the half
    that was quick enough to be valid."""
    quiet = {"virtio": 370.0, "sriov": 280.0}

    def still(trial: TrialRecord) -> dict[str, float]:
        return {"throughput": quiet[trial.path] * (1 + 0.0005 * trial.boot), "loss": 0.0}

    base, new = measured(made(1, 12), still), measured(made(2, 12), still)
    name = "sriov/tcp-tx/throughput"
    assert name in of(compare(base, new), "no change")
    one, half = (compare(base, spoilt(new, boots)) for boots in ((2,), range(1, 12, 2)))
    assert name in of(one, "no change"), "one of twelve is told, and moves no median far"
    assert name in of(half, "undecided"), "half of them may have been slow"
    for outcome, valid in ((one, 33), (half, 18)):
        assert str(outcome.sides[1].tally("sriov", "tcp-tx")) == (
            f"{valid // 3} valid, {12 - valid // 3} invalid, 0 failed"
        )
        (warning,) = outcome.warnings
        assert warning.startswith(f"sriov: {valid} of new's 36 trials are valid, 36 of base's 36;")
        assert f"Fewer trials of sriov are valid: {valid} of 36" in words.headline(outcome)
        assert any(line == f"warning: {warning}" for line in words.describe(outcome))
    (change,) = [each for each in half.primary if each.name == name]
    assert change.why.startswith("only 6 of 12 trials of new are valid, 12 of 12 of base")


def test_boots_that_left_nothing_count_as_failed_where_they_were_due() -> None:
    def late(trial: TrialRecord) -> TrialRecord | None:
        return None if trial.path == "sriov" and trial.boot >= 4 else trial

    finished = compare(made(1), without(made(2), late))
    assert str(finished.sides[1].tally("sriov", "udp")) == "4 valid, 0 invalid, 2 failed"
    interrupted = compare(
        made(1), without(made(2), lambda t: None if t.boot >= 4 else t, finished=False)
    )
    tally = interrupted.sides[1].tally("sriov", "udp")
    assert tally.failed == 0 and tally.valid == 4, "what was never due was not lost"
    assert "new (synthetic-test-data) was interrupted" in interrupted.warnings[0]
    assert words.headline(interrupted).endswith("new was interrupted")


def test_every_format_names_what_was_not_measured(tmp_path: Path) -> None:
    outcome = compare(made(1), dead(made(2)))
    document.write(outcome, tmp_path)
    texts = {each.name: each.read_text() for each in tmp_path.iterdir() if each.is_file()}
    for name in ("regression.html", "regression.md"):
        assert "8 of 16 figures are not measured: sriov" in texts[name]
        assert re.search(
            r"6 valid, 0 invalid, 0 failed.*0 valid, 0 invalid, 6 failed", texts[name], re.S
        )
        told = re.sub(r"data:[^\"]*", "", texts[name])
        assert "nan" not in told.lower().replace("nanosecond", "")
    whole = json.loads(texts["regression.json"])
    rows = {f"{c['path']}/{c['workload']}/{c['metric']}": c for c in whole["changes"]}
    assert {name for name, c in rows.items() if c["verdict"] == "not measured"} >= LOST
    row = rows["sriov/udp/loss"]
    assert (row["new"], row["ratio"], row["p"]) == (None, None, None) and row["base"] > 0
    assert {"side": "new", "path": "sriov", "workload": "udp", "valid": 0, "invalid": 0,
            "failed": 6} in whole["trials"]  # fmt: skip
    suite = ElementTree.fromstring(texts["regression-junit.xml"])
    errors = [case for case in suite if case.find("error") is not None]
    assert {f"{c.get('classname')}/{c.get('name')}".replace(".", "/") for c in errors} == LOST
    assert suite.get("errors") == "8" and suite.get("tests") == "16"
    assert 'nicproof_figures{verdict="not measured"} 8' in texts["metrics.txt"]
    assert ('nicproof_trials{side="new",path="sriov",workload="udp",ended="failed"} 6') in texts[
        "metrics.txt"
    ]
    assert "nan" not in texts["metrics.txt"] and "sriov" not in texts["bencher.json"]
    for name in ("bigger", "smaller"):
        assert "sriov" not in texts[f"benchmark-{name}-is-better.json"]


def gate(*argv: str, **env: str) -> CommandResult:
    return nicproof("compare", *argv, **env)


def test_a_path_that_is_gone_ends_with_a_regressions_status(tmp_path: Path) -> None:
    """By the command, as a job sees it, with the summary that the job's page shows."""
    base = write_run(tmp_path / "base", *_stored(made(1)))
    lost = write_run(tmp_path / "lost", *_stored(dead(made(2))))
    fewer = write_run(tmp_path / "fewer", *_stored(made(2, paths=("virtio",))))
    summary = tmp_path / "summary.md"
    for strict in ((), ("--strict",)):
        result = gate(str(base), str(lost), *strict, GITHUB_STEP_SUMMARY=str(summary))
        assert result.returncode == 1, result.text + result.error
    report, first, *_ = result.text.splitlines()
    assert report.startswith("report: ") and first.startswith("not measured  sriov, ")
    assert "## 8 of 16 figures are not measured: sriov" in summary.read_text()
    assert "  sriov, udp: base 6 valid, 0 invalid, 0 failed; new 0 valid, 0 invalid, 6 failed" in (
        result.text.splitlines()
    )
    assert gate(str(base), str(fewer)).returncode == 1
    result = gate(str(base), str(fewer), "--across=paths")
    assert result.returncode == 0, result.text + result.error
    assert "warning: left out: new was not asked for sriov" in result.text


def _stored(run: Run) -> tuple[RunInfo, Sequence[TrialRecord]]:
    return run.info, run.trials


def test_a_suspicion_holds_no_figure_that_cannot_be_confirmed(tmp_path: Path) -> None:
    document.write(compare(made(1), dead(made(2))), tmp_path)
    suspicion = Suspicion.read(tmp_path / "regression.json")
    assert suspicion.lost == 8 and not any(each in LOST for each in suspicion.figures)


def test_ab_waits_for_a_pair_and_gives_up_a_path_without_one() -> None:
    def rob(trial: TrialRecord) -> TrialRecord | None:
        return None if trial.path == "sriov" else trial

    lost = interleaved(8, rob)
    outcome = compare_variants(lost)
    assert {each.name for each in pairs.undecided(outcome, 1)} >= LOST
    assert not LOST & {each.name for each in pairs.undecided(outcome, pairs.PATIENCE)}
    assert pairs.given_up(outcome, 1) == set()
    assert pairs.given_up(outcome, pairs.PATIENCE) == {"sriov"}
    lacking = MissingPath(path="sriov", capability="VFs", why="none to be had")
    outcome = compare_variants(without(lost, rob, missing=(lacking,)))
    assert pairs.given_up(outcome, 1) == {"sriov"}, "no block will bring it"


RECORDED = """
from functools import partial
import msgspec
import pytest
from fixtures.common.options import BENCH_OPTIONS
from fixtures.common.progress import PROGRESS
from harness.records import store
from harness.records.trial import Failure
from suites.selftest.support.synthetic_run import make_run

RUN = make_run(10, paths=("virtio", "sriov"), workloads=("latency",), trials=1)

def pytest_collection_finish(session):
    options = session.config.stash[BENCH_OPTIONS]
    info = msgspec.structs.replace(RUN[0], variants=options.recorded_variants(), finished=False)
    with store.create(options.run_dir) as records:
        records.save_info(info)
    for item in session.items:
        item.setup, item.runtest = (lambda: None), partial(record, item, options.run_dir)

def record(item, run_dir):
    planned = item.callspec.params["booted_path"]
    with store.open_run(run_dir) as records:
        if (planned.path, planned.variant) == ("sriov", "b"):
            failure = Failure(path="sriov", boot=planned.boot, variant="b", error="QEMU ended")
            failures = (*records.info().failures, failure)
            records.save_info(msgspec.structs.replace(records.info(), failures=failures))
            pytest.fail("QEMU ended", pytrace=False)
        for trial in RUN[1]:
            if (trial.path, trial.block) == (planned.path, planned.block):
                records.append(msgspec.structs.replace(trial, variant=planned.variant))

def pytest_sessionfinish(session):
    with store.open_run(session.config.stash[BENCH_OPTIONS].run_dir) as records:
        finished = session.config.stash[PROGRESS].complete
        records.save_info(msgspec.structs.replace(records.info(), finished=finished))
"""


def test_an_ab_with_a_dead_path_boots_it_no_more_and_fails(tmp_path: Path) -> None:
    """The real session of `ab`, with trials that are made up, and a `b` that has none on sriov."""
    (tmp_path / "recorded.py").write_text(RECORDED)
    host = LocalHost(env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    options = ("--b=--vfio x", "--paths=virtio,sriov", "--workloads=latency", "--no-history")
    argv: tuple[str, ...] = (sys.executable, "-m", "harness.cli", "ab", "--lab=nested", *options)
    argv += (f"--run-dir={tmp_path / 'run'}", "--", "-precorded")
    result = host.run(argv, timeout=300, check=False)
    assert result.returncode == 1, result.text + result.error
    assert "all figures are decided" not in result.text
    assert "nothing more can be learnt; not measured: sriov latency" in result.text
    message = "3 of 6 figures are not measured: sriov (new has no valid trial of 3 (3 failed)). "
    assert message + "No change in any of 3 other figures" in result.text
    run = load(tmp_path / "run")
    assert run.info.finished, "it came to its end, though not to its last boot"
    blocks = {path: {t.block for t in run.trials if t.path == path} for path in PATHS}
    assert blocks["sriov"] == set(range(pairs.PATIENCE)), "three blocks are enough"
    assert len(blocks["virtio"]) > pairs.PATIENCE


# What decides, and by how much.


def change_of(outcome: Comparison, name: str) -> Change:
    (found,) = [each for each in outcome.changes if each.name == name]
    return found


def shaped(base: Run, new: Run, how: str) -> Comparison:
    """Two runs compared by each of the three methods: as runs, as pairs, as a series and a run."""
    if how == "exchange":
        return compare(base, new)
    if how == "prediction":
        return against([base] * 8, msgspec_renamed(new), "main")
    trials = [
        msgspec.structs.replace(each, variant=name)
        for name, run in (("a", base), ("b", new))
        for each in run.trials
    ]
    info = msgspec.structs.replace(base.info, variants={"a": {}, "b": {}})
    return compare_variants(Run(info, tuple(trials)))


def msgspec_renamed(run: Run) -> Run:
    return Run(msgspec.structs.replace(run.info, run="another"), run.trials)


METHODS = ("exchange", "pairs", "prediction")


def udp_loss(run: Run, loss: float) -> Run:
    return measured(run, lambda t: {"loss": loss} if t.workload == "udp" else {})


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.0, 50.0, "regression"),
        (50.0, 0.0, "improvement"),
        (0.0, 0.05, "no change"),
        (0.0, 0.0, "no change"),
        (0.02, 0.09, "no change"),
        (0.2, 0.4, "regression"),
        (40.0, 41.0, "no change"),
    ],
)
def test_loss_decides_beyond_a_tenth_of_a_point(
    how: str, before: float, after: float, verdict: str
) -> None:
    base, new = udp_loss(made(1, 10), before), udp_loss(made(1, 10), after)
    change = change_of(shaped(base, new, how), "sriov/udp/loss")
    assert change.primary and change.verdict == verdict, change


def test_a_loss_that_came_from_nothing_is_told_by_its_size() -> None:
    outcome = compare(udp_loss(made(1, 10), 0.0), udp_loss(made(2, 10), 50.0))
    assert outcome.failed
    assert "Loss from none to 50.0 %" in words.headline(outcome)
    assert json.loads(formats.as_json(outcome)), "no infinity in JSON"


def exits(run: Run, per_packet: float) -> Run:
    """sriov sends a million packets a trial, each with so many exits."""
    packets = 1_000_000

    def exact(trial: TrialRecord) -> TrialRecord:
        if trial.path != "sriov" or trial.workload != "tcp-tx":
            return trial
        count = round(packets * per_packet)
        return msgspec.structs.replace(
            trial,
            exits=(ExitCount(reason="msr", count=count, time_ns=1000 * count),),
            counters=trial.counters | {"partner.rx_packets": packets, "partner.tx_packets": 0},
        )

    return without(run, exact)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.0001, 0.0002, "no change"),
        (0.0, 0.0009, "no change"),
        (0.0147, 0.0155, "no change"),  # 5 %: beyond neither
        (0.0147, 0.0170, "regression"),
        (0.0005, 0.0020, "regression"),
        (0.0, 0.0100, "regression"),
        (0.0100, 0.0, "improvement"),
    ],
)
def test_exits_count_beyond_a_tenth_and_a_thousandth_a_packet(
    how: str, before: float, after: float, verdict: str
) -> None:
    base, new = exits(made(1, 10), before), exits(made(1, 10), after)
    change = change_of(shaped(base, new, how), "sriov/tcp-tx/exits_per_packet")
    assert change.verdict == verdict, change


def test_zeros_of_too_few_boots_show_nothing() -> None:
    run = udp_loss(made(1, 2), 0.0)
    for how in ("exchange", "pairs"):
        outcome = shaped(run, run, how)
        assert change_of(outcome, "sriov/udp/loss").verdict == "undecided"


def test_a_loss_in_some_boots_is_not_called_no_change() -> None:
    """The median is 0, the mean is not."""
    base = udp_loss(made(1, 10), 0.0)
    some = measured(base, lambda t: {"loss": 40.0} if t.boot in (3, 7) else {})
    for how in ("exchange", "pairs"):
        assert change_of(shaped(base, some, how), "sriov/udp/loss").verdict == "undecided"


def test_an_absolute_margin_is_a_ratio_of_the_size_at_hand() -> None:
    margin = margin_of("exits_per_packet")
    for base, new in ((0.002, 0.003), (0.0, 0.001), (0.05, 0.051)):
        beyond = 2 * math.atanh((new - base) / (new + base)) if base else math.inf
        ratio = margin.ratio(base + new)
        assert ratio == pytest.approx(max(beyond, math.log(1.1)))
    assert margin_of("throughput").ratio(1e-9) == pytest.approx(math.log(1.03))


def test_tails_that_grew_are_counted_though_they_do_not_decide() -> None:
    """Two of some forty others, with six boots a side: a rate of false discoveries of 1 %, where a
    single p is 2 / 924 at least, never told fewer than nine of forty."""
    tails = {"rtt_p99", "rtt_max"}

    def grown(trial: TrialRecord) -> dict[str, float]:
        worse = trial.path == "virtio" and trial.workload == "latency"
        return {name: 10 * trial.metrics[name] for name in tails} if worse else {}

    outcome = compare(made(1), measured(made(2), grown))
    assert not outcome.failed
    found = words.others(outcome, "regression")
    assert {change.metric for change in found} == tails
    message = words.headline(outcome)
    assert "2 other figures are worse; the worst: virtio, latency: RTT, " in message
    size = re.search(r"x ([\d.]+)", message)
    assert size and 8 < float(size[1]) < 13
    lines = words.describe(outcome)
    assert lines.count("worse, but not deciding:") == 1


def test_with_too_few_boots_the_size_is_told() -> None:
    slow = measured(
        made(2, 2), lambda t: {"throughput": t.metrics["throughput"] / 2}
        if (t.path, t.workload) == ("sriov", "tcp-tx") else {},
    )  # fmt: skip
    message = words.headline(compare(made(1, 2), slow))
    found = re.search(r"sriov, tcp-tx: Throughput -(\d+)\.\d %, undecided: 2 boots", message)
    assert found and 40 < int(found[1]) < 60, message
