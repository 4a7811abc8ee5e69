"""A `nicproof bench` or `qualify` adds its run to the history, and says so, or why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.hosts.base import CommandResult
from harness.records import cases, store
from harness.records.history.runs import open_history
from harness.runs.asked import Asked
from harness.runs.options import BenchOptions
from harness.runs.suite import ROOT
from suites.selftest.support import command

WITHOUT_LAB = """
import os
from pathlib import Path
import pytest
from fixtures.common.options import begun
from suites.selftest.support.synthetic_run import make_run, write_run

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    run = make_run(1, paths=("sriov",), workloads=("tcp-tx",), trials=1)
    write_run(begun(session.config).run_dir, *run)
    if spoil := os.environ.get("SPOIL"):
        Path(spoil).write_bytes(b"no longer a database" * 100)
    return True
"""


def without_lab(tmp_path: Path, *argv: str, **env: str) -> CommandResult:
    """A program of nicproof's whose pytest, instead of running tests, makes up a run."""
    (tmp_path / "without_lab.py").write_text(WITHOUT_LAB)
    return command.program(*argv, **{"PYTHONPATH": f"{ROOT}:{tmp_path}", **env})


def bench(
    tmp_path: Path, *options: str, plugins: tuple[str, ...] = ("-pwithout_lab",), **env: str
) -> CommandResult:
    """`nicproof bench`; `plugins` are options for pytest."""
    argv = ("harness.cli", "bench", "--lab=nested", f"--run-dir={tmp_path}/run", *options)
    return without_lab(tmp_path, *argv, "--", *plugins, **env)


def test_a_bench_adds_its_run(tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    result = bench(tmp_path, f"--history={where}", "--name=main")
    assert result.returncode == 0, result.text + result.error
    assert (
        f"\nreport: {tmp_path}/run/report.html\nhistory: synthetic-test-data as main in {where}\n"
    ) in result.text
    *_, counted, verdict = result.text.splitlines()
    assert re.fullmatch(r"\d+ of \d+ trials are valid", counted), "pytest counts nothing after it"
    assert verdict in (tmp_path / "run" / "report.md").read_text(), "the verdict comes last"
    with open_history(str(where)) as history:
        entry = history.find("main")
        with store.open_run(tmp_path / "run") as records:
            assert history.load(entry) == (records.info(), records.trials())
        assert history.places()[entry.digest][0].directory == tmp_path / "run"


def test_a_run_that_cannot_be_added_is_told_with_the_command_that_does_it(tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    result = bench(tmp_path, f"--history={where}", "--name=main", SPOIL=str(where))
    assert result.returncode == 1, result.text + result.error
    (output,) = [line for line in result.text.splitlines() if "not in the history" in line]
    assert output.startswith(f"not in the history: {where}: this is not a history")
    assert output.endswith(f"`nicproof history import {tmp_path}/run --name main` adds it later")
    assert (tmp_path / "run" / "report.html").exists()


def test_a_history_that_cannot_be_used_is_told_before_the_lab_starts(tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    where.write_bytes(b"not a database" * 100)
    result = bench(tmp_path, f"--history={where}")
    assert result.returncode == 2
    assert result.error.startswith(f"nicproof: {where}: this is not a history")
    assert not (tmp_path / "run").exists()


def test_what_is_no_comparison_adds_nothing(tmp_path: Path) -> None:
    suite = str(ROOT / "suites" / "benchmarks")
    options = (f"--run-dir={tmp_path}/run", f"--history={tmp_path}/history.db", "-pwithout_lab")
    result = without_lab(tmp_path, "pytest", suite, *options)
    assert "report: " in result.text, result.text + result.error
    assert not (tmp_path / "history.db").exists()


QUALIFIED = """
import os
from pathlib import Path
import pytest
from fixtures.common.options import begun
from fixtures.qualification.certificate import COLLECTOR
from harness.records.cases import save
from suites.selftest.support.qualified import qualified

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    subject, cases = qualified(1)
    save(subject, begun(session.config).run_dir)
    for case in cases:
        session.config.pluginmanager.get_plugin(COLLECTOR)._end(case)
    if spoil := os.environ.get("SPOIL"):
        Path(spoil).write_bytes(b"no longer a database" * 100)
    return True
"""


def qualify(tmp_path: Path, *options: str, **env: str) -> CommandResult:
    """`nicproof qualify`, whose pytest makes up the cases' verdicts."""
    (tmp_path / "as_qualified.py").write_text(QUALIFIED)
    argv = ("harness.cli", "qualify", "--lab=nested", f"--run-dir={tmp_path}/run", *options)
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}", **env}
    return command.program(*argv, "--", "-pas_qualified", **env)


def test_a_qualification_is_added_when_it_has_ended(tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    result = qualify(tmp_path, f"--history={where}")
    assert result.returncode == 0, result.text + result.error
    assert (
        f"\ncertificate: {tmp_path}/run/certificate.html\nhistory: 20260101-q in {where}\n"
    ) in result.text
    with open_history(str(where)) as history:
        (entry,) = history.qualifications.entries()
        found = cases.load_subject(tmp_path / "run"), cases.load_cases(tmp_path / "run")
        assert history.qualifications.load(entry) == found and entry.cases == len(found[1])
        assert history.places()[entry.digest][0].directory == tmp_path / "run"


def test_a_qualification_that_cannot_be_added_is_told(tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    result = qualify(tmp_path, f"--history={where}", SPOIL=str(where))
    assert result.returncode == 1, result.text + result.error
    assert f"`nicproof history import {tmp_path}/run` adds it later" in result.text
    assert (tmp_path / "run" / "certificate.html").exists()


def test_a_qualification_can_be_kept_out(tmp_path: Path) -> None:
    result = qualify(tmp_path, "--no-history", NICPROOF_HISTORY=str(tmp_path / "history.db"))
    assert result.returncode == 0, result.text + result.error
    assert "certificate: " in result.text and "history: " not in result.text
    assert not (tmp_path / "history.db").exists()


@pytest.mark.parametrize("program", ["harness.cli", "pytest"])
def test_a_history_that_cannot_be_used_is_told_before_the_rig_stands(
    tmp_path: Path, program: str
) -> None:
    where = tmp_path / "history.db"
    where.write_bytes(b"not a database" * 100)
    what = "qualify" if program == "harness.cli" else str(ROOT / "suites" / "qualification")
    options = ("--lab=nested", f"--history={where}", f"--run-dir={tmp_path}/run")
    result = command.program(program, what, *options)
    assert result.returncode in (2, 4), result.text
    assert f"{where}: this is not a history" in result.error
    assert not (tmp_path / "run" / "logs").exists()


def test_contradictions_are_refused(tmp_path: Path) -> None:
    parser = cli.command_line()

    def options(*given: str) -> BenchOptions:
        words = ["bench", f"--run-dir={tmp_path}", *given]
        return BenchOptions.of(Asked.of(parser.parse_args(words)))

    assert options("--no-history").kept is False
    assert options("--name=main").kept is True
    with pytest.raises(ConfigError, match="--no-history and --name main: one or the other"):
        options("--no-history", "--name=main")
    with pytest.raises(ConfigError, match=r"--no-history and --history a\.db: one or the other"):
        options("--no-history", "--history=a.db")
    with pytest.raises(ConfigError, match="cannot be the name of a run"):
        options("--name=a b")
