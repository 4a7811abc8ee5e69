"""`nicproof bench` as a user starts it: two paths in the nested lab, to the report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from harness.core.units import is_virtual
from harness.hosts.local import LocalHost
from harness.records.history.runs import open_history
from harness.records.run import load, of_variant
from harness.runs.suite import ROOT
from harness.tuning.coalescing import LAB_USECS
from harness.tuning.rings import ENOUGH

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one short run of the slowest and the fastest way into a guest."""
    run_dir = tmp_path_factory.mktemp("bench") / "run"
    message = bench(run_dir, "--paths=e1000e,sriov", "--boots=1", "--workloads=tcp-bidir,latency")
    assert f"report: {run_dir}/report.html" in message
    assert "warning" not in message.lower()
    return run_dir


def bench(run_dir: Path, *options: str) -> str:
    """What `nicproof bench` says; it has to end well."""
    return nicproof("bench", run_dir, *options)


def nicproof(command: str, run_dir: Path, *options: str) -> str:
    argv: tuple[str, ...] = (sys.executable, "-m", "harness.cli", command)
    argv += ("--lab=nested", "--seed=1")
    argv += (f"--run-dir={run_dir}", f"--history={history_of(run_dir)}", "--name=end-to-end")
    result = LocalHost(env={"PYTHONPATH": str(ROOT)}).run(
        (*argv, *options), timeout=500, check=False
    )
    assert result.returncode == 0, result.text + result.error
    return result.text


def history_of(run_dir: Path) -> Path:
    """A history of the tests' own, never the user's."""
    return run_dir.with_name("history.db")


def per_packet(run_dir: Path, path: str, metric: str) -> pd.Series[float]:
    table = pd.read_csv(run_dir / "measurements.csv")
    rows = table[(table["path"] == path) & (table["metric"] == metric) & table["valid"]]
    return rows[rows["workload"].str.startswith("tcp") & ~rows["warmup"]]["value"]


def test_a_run_leaves_everything_that_is_promised(run_dir: Path) -> None:
    for name in ("report.html", "report.md", "measurements.csv", "exits.csv", "trials.jsonl"):
        assert (run_dir / name).stat().st_size > 0, name
    assert {path.suffix for path in (run_dir / "figures").iterdir()} == {".png", ".svg"}
    suite = ElementTree.parse(run_dir / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "0", "0")
    with open_history(str(history_of(run_dir))) as history:
        assert history.load(history.find("end-to-end"))[0] == load(run_dir).info
    for path in ("e1000e", "sriov"):
        assert (run_dir / "logs" / f"b0-{path}.serial.log").exists()


def test_every_trial_proved_its_path(run_dir: Path) -> None:
    run = load(run_dir)
    assert run.info.finished
    measured = [trial for trial in run.trials if trial.workload != "idle"]
    assert len(measured) == 2 * 2 + 2  # and one warm-up a path
    for trial in measured:
        assert trial.valid, trial.reasons
        assert {"driver", "mac", "host interface"} <= {proof.name for proof in trial.proofs}


def test_no_driver_chooses_its_moderation_by_the_traffic(run_dir: Path) -> None:
    """One that did had one of two numbers of exits, boot by boot."""
    tuning = load(run_dir).info.environment["tuning"]
    for path in ("e1000e", "sriov"):
        assert tuning[f"moderation where traffic ends, {path}"] == f"rx-usecs {LAB_USECS}"
        assert tuning[f"receive ring where traffic ends, {path}"] == str(ENOUGH)
    ports = [how for what, how in tuning.items() if what.startswith("moderation of 0")]
    assert [how.partition(" (")[0] for how in ports] == [f"rx-usecs {LAB_USECS}"] * 2


def test_an_emulated_nic_costs_at_least_thrice_the_mmio_exits_of_a_vf(run_dir: Path) -> None:
    """What hardware shows too: a VF's registers are mapped, an emulated NIC's are not."""
    emulated = per_packet(run_dir, "e1000e", "mmio_exits_per_packet")
    mapped = per_packet(run_dir, "sriov", "mmio_exits_per_packet")
    assert len(emulated) == len(mapped) == 1
    assert emulated.min() > 0.01
    assert emulated.min() >= 3 * mapped.max()


def test_in_virtual_time_a_fixed_amount_is_sent_at_a_rate_of_its_own(run_dir: Path) -> None:
    """By iperf3's own clock the two transfers would take whole tenths of a second."""
    run = load(run_dir)
    assert is_virtual(run.info.clock)
    sent = [each for each in run.trials if (each.path, each.workload) == ("sriov", "tcp-bidir")]
    warmup, trial = sorted(sent, key=lambda each: not each.warmup)
    for record in (warmup, trial):
        assert record.clock == run.info.clock and len(record.wire) > 10
    first, second = warmup.metrics["throughput"], trial.metrics["throughput"]
    assert second == pytest.approx(first, rel=0.2)
    assert sum(exit_.count for exit_ in trial.exits or () if exit_.reason == "npf") == 0


@pytest.mark.long
def test_two_configurations_are_interleaved_and_told_apart_by_their_exits(tmp_path: Path) -> None:
    """Without the BAR's mapping a VF costs MMIO exits. A block shows them, and decides nothing."""
    run_dir = tmp_path / "run"
    options = ("--ablate=x-no-mmap", "--workloads=tcp-tx", "--max-blocks=1")
    output = nicproof("ab", run_dir, *options)
    assert "block 1: undecided: sriov tcp-tx mmio_exits_per_packet" in output
    assert "x-no-mmap: 0 of 1 figures did what was expected" in output
    run = load(run_dir)
    assert run.info.finished and run.info.variants == {"a": {}, "b": {"vfio": "x-no-mmap=on"}}
    mapped, trapped = (of_variant(run, name) for name in ("a", "b"))
    assert [len(each.counted) for each in (mapped, trapped)] == [2, 2]  # and the idle ones
    seen = ({e.reason for t in side.counted for e in t.exits or ()} for side in (mapped, trapped))
    assert ["npf" in reasons for reasons in seen] == [False, True]
    assert "x-no-mmap=on" in (run_dir / "regression.html").read_text()


def test_a_full_disk_is_one_clear_error_and_the_records_are_kept(tmp_path: Path) -> None:
    """Results on a file system of 224 KiB, in a mount namespace that ends with the command.

    In a CI job, where pytest repeats every message in its summary.
    """
    full, copy, history = tmp_path / "full", tmp_path / "copy", tmp_path / "history.db"
    full.mkdir()
    argv: tuple[str, ...] = (sys.executable, "-m", "harness.cli", "bench", "--lab=nested")
    argv += ("--paths=native", "--workloads=latency", "--boots=12", "--seed=1")
    script = (
        f"mount -t tmpfs -o size=224k full {full} || exit 99; "
        f"{shlex.join(argv)} --run-dir={full}/run --history={history}; "
        f"status=$?; cp -r {full}/run {copy}; exit $status"
    )
    result = LocalHost(env={"PYTHONPATH": str(ROOT), "CI": "true"}).run(
        ("unshare", "--mount", "--map-root-user", "sh", "-c", script), timeout=300, check=False
    )
    output = result.text + result.error
    assert result.returncode == 1, output
    assert output.count("database or disk is full") == 1
    assert "what was stored before is intact" in output
    assert "Traceback" not in output
    assert load(copy).counted
