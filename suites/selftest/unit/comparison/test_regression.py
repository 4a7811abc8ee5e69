"""A run judged against another: the exact test, the verdicts, the formats, the exit status.

Runs are made up (synthetic_run), so that what differs between them is known.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest

from harness.cli import compare as compare_command
from harness.cli import main as cli
from harness.cli.bench import Suspicion
from harness.comparison import judge
from harness.comparison.exits import ExitChange, likely_causes
from harness.comparison.outcome import compare as compared
from harness.comparison.outcome import compare_variants
from harness.core.errors import ConfigError
from harness.core.status import Status
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.records.boots import Boots
from harness.records.run import Run, load
from harness.records.trial import RunInfo, TrialRecord
from harness.runs.asked import Asked
from harness.runs.options import BenchOptions
from harness.runs.suite import run_and_wait
from harness.runs.variant import Variant
from harness.stats import permutation_test
from harness.stats.estimates import Floats
from reports.comparison import formats
from suites.selftest.support import synthetic_run
from suites.selftest.support.command import nicproof
from suites.selftest.support.synthetic_run import CHARACTERS, make_run, write_run

PATHS, WORKLOADS = ("virtio", "sriov"), ("tcp-tx", "latency")


def test_every_labelling_once_and_the_observed_first() -> None:
    ways = permutation_test.labellings(2, 3)
    assert ways[0].tolist() == [False, False, True, True, True]
    assert len({tuple(way) for way in ways.tolist()}) == len(ways) == math.comb(5, 3)
    assert (ways.sum(axis=1) == 3).all()
    many = permutation_test.labellings(30, 30)
    assert many[0].tolist() == [False] * 30 + [True] * 30
    assert (many.sum(axis=1) == 30).all()


def test_the_smallest_p_is_that_of_the_count() -> None:
    table = np.array([[0.0, 0.1, 0.2, 5.0, 5.1, 5.2]])
    assert permutation_test.step_down(table, 3) == [pytest.approx(2 / math.comb(6, 3))]
    assert judge.fewest() == 5, "2 / C(10, 5) = 0.0079 is the first below 0.01"


def test_a_shift_is_found_with_its_interval() -> None:
    base = [1.00, 1.01, 0.99, 1.02, 0.98, 1.00]
    found = permutation_test.shift(base, [value * 1.2 for value in base], 0.99)
    assert found.ratio == pytest.approx(1.2)
    assert 1.15 < found.low < 1.2 < found.high < 1.25
    assert found.scale == pytest.approx(0.0141, rel=0.05)


def test_intervals_cover_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(500):
        base, new = random.lognormal(0, 0.02, 6), random.lognormal(0.05, 0.02, 6)
        found = permutation_test.shift(list(base), list(new), 0.9)
        covered += found.low <= math.exp(0.05) <= found.high
    assert 0.85 < covered / 500 < 0.95


def test_equal_configurations_are_seldom_called_different() -> None:
    """The level of the whole family, not of each figure: 20 of them, correlated by block."""
    random = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        table = random.normal(0, 0.02, (20, 12)) + random.normal(0, 0.02, 12)
        alarms += min(permutation_test.step_down(table, 6)) < 0.05
    assert alarms / 400 < 0.08


def test_a_figure_that_never_varies_hides_no_other() -> None:
    """The mean of equal numbers is off by their last bits; scaled up, those were a rival of every
    other figure in every labelling, and all p were 1: a UDP stream at a fixed rate was enough."""
    random = np.random.default_rng(13)
    message = [*random.normal(0, 0.01, 10), *random.normal(1, 0.01, 10)]
    for fixed in (50.0, 100.0, 1 / 3):
        p = permutation_test.step_down(np.array([message, [math.log(fixed)] * 20]), 10)
        assert p[0] < 0.001 and p[1] == 1.0


def test_none_against_some() -> None:
    appeared = permutation_test.shift([0, 0, 0, 0, 0], [2, 1, 2, 2, 1], 0.9)
    assert appeared.ratio == math.inf
    assert permutation_test.shift([2.0, 1.0], [0.0, 0.0], 0.9).ratio == 0.0
    with pytest.raises(ValueError, match="nothing to compare"):
        permutation_test.shift([], [1.0], 0.9)


def run(directory: Path, seed: int, boots: int = 6) -> Path:
    info, records = make_run(boots, paths=PATHS, workloads=WORKLOADS, seed=seed)
    return write_run(directory, info, records)


def slower(monkeypatch: pytest.MonkeyPatch, path: str, by: float) -> None:
    """From here on runs are made in which `path` is slower, and has exits for it."""
    character = CHARACTERS[path]
    exits = character.per_packet | {"npf": 2.0}
    changed = replace(character, mbit=character.mbit * (1 - by), per_packet=exits)
    monkeypatch.setitem(CHARACTERS, path, changed)


def compare(base: Path, new: Path, *options: str, **env: str) -> CommandResult:
    return nicproof("compare", str(base), str(new), *options, **env)


def test_equal_runs_give_no_regression(tmp_path: Path) -> None:
    result = compare(run(tmp_path / "a", 1), run(tmp_path / "b", 2), "--strict")
    assert result.returncode == 3, result.text + result.error  # boots vary by 6 %, the margin is 3
    assert "undecided" in result.text and "regression" not in result.text.partition("\n")[2]


def test_a_regression_is_told_with_the_exits_that_explain_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = run(tmp_path / "a", 1)
    slower(monkeypatch, "sriov", 0.4)
    new, summary = run(tmp_path / "b", 2), tmp_path / "summary.md"
    result = compare(base, new, GITHUB_STEP_SUMMARY=str(summary))
    assert result.returncode == 1, result.text + result.error
    out = new / "against-synthetic-test-data"
    whole = json.loads((out / "regression.json").read_text())
    worst = {(c["path"], c["metric"]) for c in whole["changes"] if c["verdict"] == "regression"}
    assert worst >= {("sriov", "throughput"), ("sriov", "exits_per_packet")}
    assert not any(path == "virtio" for path, _ in worst)
    assert "Two runs are two sessions" in summary.read_text()
    assert "sriov, tcp-tx" in summary.read_text() and "npf exits per packet 0 -> " in result.text
    suite = ElementTree.parse(out / "regression-junit.xml").getroot()
    assert int(suite.get("failures", "0")) == sum(c["verdict"] == "regression"
        for c in whole["changes"] if c["primary"])  # fmt: skip
    assert (out / "metrics.txt").read_text().endswith("# EOF\n")
    bigger = json.loads((out / "benchmark-bigger-is-better.json").read_text())
    assert {row["name"].rpartition("/")[2] for row in bigger} == {
        "throughput", "throughput_sent"
    }  # fmt: skip
    assert compare(new, base).returncode == 0, "an improvement fails nobody"


def changed(directory: Path, change: Callable[[RunInfo], RunInfo], **trial: object) -> Path:
    info, records = make_run(paths=PATHS, workloads=WORKLOADS, seed=3)
    altered: list[TrialRecord] = [msgspec.structs.replace(each, **trial) for each in records]
    return write_run(directory, change(info), altered)


def with_section(info: RunInfo, name: str, section: dict[str, str]) -> RunInfo:
    return msgspec.structs.replace(info, environment={**info.environment, name: section})


def test_what_must_not_be_compared_is_refused_by_name(tmp_path: Path) -> None:
    base = run(tmp_path / "a", 1)
    hardware = changed(
        tmp_path / "hw",
        lambda info: msgspec.structs.replace(info, fidelity="hardware"),
        fidelity="hardware",
    )
    result = compare(base, hardware)
    assert result.returncode == 2
    assert "differ in fidelity: 'nested-tcg', 'hardware'" in result.error
    assert compare(base, hardware, "--across=fidelity").returncode != 2
    longer = changed(tmp_path / "long", lambda info: info, parameters={"seconds": "20"})
    assert "differ in workload parameters" in compare(base, longer).error
    apart = changed(
        tmp_path / "apart", lambda info: msgspec.structs.replace(info, partner_host="beta")
    )
    assert "differ in link partner: 'on the same host'" in compare(base, apart).error
    ring = {"receive ring of 01:00.0": "4096"}
    tuned, long, held, huge = (
        changed(tmp_path / name, partial(with_section, name=section, section=entry))
        for name, section, entry in (
            ("tuned", "tuning", {"governor": "powersave -> performance"}),
            ("rings", "tuning", ring),
            ("held", "tuning", {**ring, "moderation where traffic ends, sriov": "rx-usecs 50"}),
            ("huge", "guest", {"memory": "256 MiB of 2 MiB pages"}),
        )
    )
    assert "differ in tuning: 'host as found', 'host tuned'" in compare(base, tuned).error
    assert "differ in guest memory: 'ordinary pages', '2 MiB pages'" in compare(base, huge).error
    assert "'host tuned', 'host tuned, receive rings long'" in compare(tuned, long).error
    assert (
        "'host tuned, receive rings long, moderation held at both ends'"
        in compare(long, held).error
    )
    assert compare(base, tuned, "--across=tuning").returncode != 2
    assert "not a key of a run" in compare(base, longer, "--across=weather").error


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    base = run(tmp_path / "a", 1)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "trials.db").write_bytes(b"not a database at all" * 100)
    for directory in (tmp_path / "nowhere", tmp_path / "foreign"):
        result = compare(base, directory)
        assert result.returncode == 2 and "Traceback" not in result.error, result.error


def test_too_few_boots_are_undecided_with_advice(tmp_path: Path) -> None:
    base, new = (load(run(tmp_path / name, seed, boots=2)) for seed, name in enumerate("ab", 1))
    outcome = compared(base, new)
    assert {change.verdict for change in outcome.primary} == {"undecided"}
    assert all("would decide it" in c.why or "too noisy" in c.why for c in outcome.primary)


@pytest.mark.parametrize("variants", [False, True])
def test_one_boot_says_nothing_of_how_boots_vary(variants: bool, tmp_path: Path) -> None:
    """Its scale is no figure: it would be told as inf %, or as 0."""
    if variants:
        info, trials = synthetic_run.make_run(1, paths=("sriov",), workloads=("tcp-tx",))
        both = [msgspec.structs.replace(t, variant=side) for side in "ab" for t in trials]
        info = msgspec.structs.replace(info, variants={"a": {}, "b": {"vfio": "x-no-mmap=on"}})
        outcome = compare_variants(Run(info, tuple(both)))
    else:
        base, new = (run(tmp_path / name, seed, boots=1) for seed, name in enumerate("ab", 1))
        outcome = compared(load(base), load(new))
    sample = outcome.method.sample
    for change in outcome.primary:
        assert change.why == f"1 {sample} is too few: it does not tell by how much {sample}s vary"
    for better in ("higher", "lower"):
        assert "range" not in formats.as_github_benchmark(outcome.changes, better)


@pytest.mark.parametrize("command", [("bench", "--against=main"), ("compare", "base", "new")])
def test_a_key_that_there_is_not_is_told_before_anything_is_done(
    command: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        compare_command, "exec_module", lambda *_: pytest.fail("the reports were started")
    )
    assert cli.main([*command, "--across=pathes", f"--history={tmp_path}/history.db"]) == 2
    assert capsys.readouterr().err.startswith("nicproof: --across pathes: not a key of a run\n")
    assert not (tmp_path / "history.db").exists(), "it was not even looked for"


def test_known_shifts_are_judged_as_they_are() -> None:
    """Boots that vary by half a per cent: 1 % is none within the margin of 3, 8 % is a change."""
    quiet = synthetic_run.CHARACTERS["sriov"]
    random = np.random.default_rng(5)
    for by, verdict in ((0.0, "no change"), (0.01, "no change"), (-0.08, "regression")):
        sides = [
            _boots(quiet.mbit * (1 + side * by) * random.lognormal(0, 0.005, 8)) for side in (0, 1)
        ]
        (change,) = judge.judge(*sides)
        assert change.verdict == verdict, (by, change)


def _boots(values: Floats) -> Boots:
    return {("sriov", "tcp-tx", "throughput"): dict(enumerate(map(float, values)))}


def benchstat_input(directory: Path) -> str:
    return nicproof("report", str(directory), "--benchstat").checked().text


def test_a_run_converts_to_what_benchstat_reads(tmp_path: Path) -> None:
    """By the format's own rules: a key, a unit, or a name, a count and pairs of value and unit."""
    base = run(tmp_path / "a", 1)
    message = benchstat_input(base)
    head, _, body = message.partition("\n\n")
    assert "Unit throughput better=higher" in head and "Unit rtt_p50 better=lower" in head
    lines = [line.split() for line in body.splitlines()]
    assert len(lines) == 6 * len(PATHS) * len(WORKLOADS), "a line a boot and workload"
    for name, count, *pairs in lines:
        assert name.startswith("Benchmark") and name[9].isupper() and count == "1"
        assert len(pairs) % 2 == 0 and all(float(value) >= 0 for value in pairs[::2])
    assert not (base / "report.html").exists()


CONFIGURATION_LINE = re.compile(r"([a-z][^\sA-Z:]*):(?:[ \t]+(.*))?")
"""As benchfmt.Reader has it: lower case first, no space and no capital before the colon."""


def configuration(text: str) -> dict[str, str]:
    """The lines by which benchstat sorts results into tables."""
    found = map(CONFIGURATION_LINE.fullmatch, text.splitlines())
    return {line[1]: line[2] or "" for line in found if line}


def another(directory: Path, **info: str) -> Path:
    """A run as another day and another machine of the same kind would give it."""
    message = {"run": "20270101-000000", "created": "2027-01-01T00:00:00Z", "host": "beta", **info}
    message.setdefault("nic", "82576 0000:81:00.1")
    return changed(
        directory,
        lambda known: msgspec.structs.replace(known, **message, options={"virtio": "packed=on"}),
        **{key: value for key, value in message.items() if key == "fidelity"},
    )


def test_benchstat_puts_two_runs_into_one_table_where_compare_would_compare_them(
    tmp_path: Path,
) -> None:
    """benchstat compares within a table, and makes one of each configuration."""
    base = benchstat_input(run(tmp_path / "a", 1))
    same = benchstat_input(another(tmp_path / "b"))
    assert configuration(base) == configuration(same)
    assert configuration(base)["nic-model"] == "82576" and "# run: 20270101-000000" in same
    other = benchstat_input(another(tmp_path / "c", fidelity="hardware"))
    differs = configuration(base).items() ^ configuration(other).items()
    assert {key for key, _ in differs} == {"fidelity"}


@pytest.mark.skipif(shutil.which("benchstat") is None, reason="Go's benchstat is not on PATH")
def test_benchstat_itself_compares_two_runs_as_they_are(tmp_path: Path) -> None:
    for name, made in (("a", run(tmp_path / "a", 1)), ("b", another(tmp_path / "b"))):
        (tmp_path / f"{name}.txt").write_text(benchstat_input(made))
    argv = ("benchstat", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    output = LocalHost().run(argv, timeout=60)
    assert not output.error and output.text.count("fidelity:") == 1, "one group of tables"
    row = next(line for line in output.text.splitlines() if "Sriov/workload=tcp-tx" in line)
    assert "(p=" in row and "n=6)" in row


def test_a_suspicion_is_confirmed_on_its_own_figures_alone(tmp_path: Path) -> None:
    change = {"path": "sriov", "workload": "latency", "metric": "rtt_p50", "primary": True}
    found = {
        "changes": [
            {**change, "verdict": "regression"},
            {**change, "path": "virtio", "verdict": "undecided"},
            {**change, "path": "virtio", "verdict": "regression", "primary": False},
        ],
        "base_options": {"quick": "yes"},
        "new_options": {"vfio": "x-no-mmap=on", "guest-append": "nox2apic quiet"},
    }
    file = tmp_path / "regression.json"
    file.write_text(json.dumps(found))
    first = Asked.of(Namespace(clock="wall", max_blocks="30", boots="3", vfio="x=y", seed="0"))
    asked = Suspicion.read(file).asked(first, tmp_path / "confirm")
    run = BenchOptions.of(asked)
    assert run.pair and run.paths == ("sriov",) and run.workloads == ("latency",)
    assert run.deciding == ("sriov/latency/rtt_p50",)
    assert (run.boots, run.shape.clock, run.seed) == (30, "wall", 0)
    assert asked.where.run_dir == str(tmp_path / "confirm")
    assert run.variants["a"] == Variant(), "what was asked of the first is in b"
    assert run.variants["b"].guest_append == "nox2apic quiet"
    file.write_text(json.dumps({**found, "new_options": {}}))
    with pytest.raises(ConfigError, match="nothing to interleave"):
        Suspicion.read(file).asked(first, tmp_path / "confirm")


def test_exits_that_rose_point_to_a_cause() -> None:
    rose = (ExitChange("npf", 0.0, 2.0), ExitChange("msr", 0.1, 0.3), ExitChange("io", 0.5, 0.1))
    causes = list(likely_causes("vf", rose))
    assert len(causes) == 2 and causes[0].startswith("a BAR is trapped")
    assert "doorbells" in next(likely_causes("virtio", rose))
    assert not list(likely_causes("vf", rose[2:])), "io fell"


def test_a_program_is_waited_for_and_its_end_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def ended(script: str) -> int:
        return run_and_wait([sys.executable, "-c", f"import os, signal, sys; {script}"])

    assert ended("sys.exit(3)") == 3
    assert ended("sys.exit(77)") == Status.CRASHED
    assert "ended with status 77, which is no verdict" in capfd.readouterr().err
    assert ended("os.kill(os.getpid(), signal.SIGKILL)") == Status.CRASHED
    assert "ended by SIGKILL, which is no verdict" in capfd.readouterr().err
    heeds = "signal.pthread_sigmask(signal.SIG_UNBLOCK, [15]); os.kill(os.getppid(), 15)"
    assert ended(f"{heeds}; signal.pause()") == Status.INTERRUPTED, "it was handed on"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "we are told again"
