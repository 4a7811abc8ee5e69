"""Which worker gets which case, by real sessions of pytest-xdist.

The workers only say that they have a host, and what it lacks, as the file `claims` has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.core.deadline import Deadline
from harness.doctor.controller import LAB_MIB
from harness.records.cases import CaseRecord, Verdict, load_subject, save
from suites.benchmarks import hosts
from suites.selftest.test_cases import case, found, subject
from suites.selftest.test_lab_choice import APART

pytest_plugins = ["pytester"]

CONFTEST = """
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
import msgspec
import pytest
from fixtures.qualification.cases import STANDING
from fixtures.common.options import BENCH_OPTIONS, worker_id
from fixtures.qualification.scheduling import HostScheduling
from harness.records.cases import Claim, save_claim

CLAIMS = json.loads(Path(__file__).with_name("claims").read_text())

def pytest_xdist_make_scheduler(config, log):
    return HostScheduling(config, log, config.stash[BENCH_OPTIONS].run_dir)

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    said = CLAIMS.get(worker_id(config))
    if said is not None:
        time.sleep(said.pop("late", 0))
        lacks = [item.nodeid for item in items if any(word in item.name for word in said["lacks"])]
        claim = msgspec.convert({**said, "lacks": lacks, "pid": os.getpid()}, Claim)
        save_claim(claim, config.stash[BENCH_OPTIONS].run_dir / worker_id(config))
        config.stash[STANDING] = SimpleNamespace(host=SimpleNamespace(name=claim.host))
"""

CASES = """
import pytest
pytestmark = pytest.mark.case("driver")

@pytest.mark.parametrize("n", range(3))
def test_ptp(n): pass

@pytest.mark.parametrize("n", range(3))
def test_sriov(n): pass

@pytest.mark.parametrize("n", range(3))
def test_rare(n): pass

def test_plain(): pass
"""

PLUGINS = ("options", "progress", "errors", "cases", "certificate", "hosts")


Claims = dict[str, dict[str, object]]


def run(
    pytester: pytest.Pytester, run_dir: Path, workers: int, claims: Claims, **more: str
) -> pytest.RunResult:
    prepare(pytester, claims, **more)
    return pytester.runpytest_subprocess(*options(run_dir, workers))


def prepare(pytester: pytest.Pytester, claims: Claims, **more: str) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.path.joinpath("claims").write_text(json.dumps(claims))
    pytester.makepyfile(**({"test_ptp": CASES, "test_lifecycle": CASES} | more))


def options(run_dir: Path, workers: int) -> tuple[str, ...]:
    plugins = (f"-pfixtures.{name}" for name in PLUGINS)
    return (*plugins, f"--run-dir={run_dir}", f"-n{workers}")


def has(host: str, *lacks: str, **more: object) -> dict[str, object]:
    return {"host": host, "lacks": lacks, **more}


DEADLY = """
import os
def test_deadly(): os._exit(7)
"""

SLOW = """
import time
@pytest.mark.parametrize("n", range(3))
def test_slow(n): time.sleep(0 if n else 3)
"""


def done(made: dict[str, CaseRecord], word: str) -> set[str]:
    """The hosts that did the cases of that name."""
    return {record.host for name, record in made.items() if f"{word}[" in name}


def test_a_case_goes_where_it_can_be_done(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """One worker has no host, and says why; another dies of a case, and gw3 takes its place when
    the one that is left has long been idle."""
    for name in ("alpha", "beta", "gamma"):
        save(subject(host=name), tmp_path / name)
    claims = {
        "gw0": has("alpha", "ptp", "rare"),
        "gw1": has("beta", "sriov", "rare", "deadly"),
        "gw2": {"why": "gamma is in use by ada", "lacks": ()},
        "gw3": has("alpha", "ptp", "rare", late=5),
    }
    result = run(pytester, tmp_path, 3, claims, test_stress=CASES + DEADLY)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["gw2: gamma is in use by ada"])
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed while running*test_deadly*"])
    made = found(tmp_path)
    assert len(made) == 30, "those that no host can do are run all the same, to be skipped there"
    assert done(made, "sriov") == {"alpha"}
    assert done(made, "ptp") == {"beta"}
    whole = load_subject(tmp_path)
    assert [each.host for each in (whole, *whole.others)] == ["alpha", "beta"]


def test_cases_go_to_the_others_if_a_dead_workers_host_is_lost(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """To be skipped there, as the host was the only one that could do them."""
    claims = {
        "gw0": has("alpha", "slow"),
        "gw1": has("beta", "sriov", "deadly"),
        "gw2": {"why": "alpha is in use by eve", "lacks": ()},
    }
    files = {"test_stress": DEADLY + CASES + SLOW, "test_ptp": "", "test_lifecycle": ""}
    result = run(pytester, tmp_path, 2, claims, **files)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["gw2: alpha is in use by eve"])
    made = found(tmp_path)
    assert len(made) == 13
    assert {record.host for record in made.values()} == {"beta"}


def test_a_run_that_lost_its_last_host_is_in_error(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    claims = {"gw0": has("alpha"), "gw1": {"why": "alpha is in use by eve", "lacks": ()}}
    result = run(pytester, tmp_path, 1, claims, test_lifecycle=DEADLY + CASES)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed while running*test_deadly*"])
    result.stdout.fnmatch_lines(["*alpha is in use by eve*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_run_without_any_host_is_in_error(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(pytester, tmp_path, 1, {"gw0": {"why": "alpha is in use by ada", "lacks": ()}})
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*alpha is in use by ada*"])
    assert not (tmp_path / "cases.jsonl").exists()


def test_a_lab_that_is_none_for_cases_is_told(pytester: pytest.Pytester, tmp_path: Path) -> None:
    """By the workers' own look at it; `nicproof qualify` does not even start them."""
    lab_toml = tmp_path / "lab.toml"
    lab_toml.write_text(APART)
    prepare(pytester, {})
    result = pytester.runpytest_subprocess(*options(tmp_path / "run", 1), f"--lab={lab_toml}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["no rig: qualify needs both ports on one host, *of beta*"])


def test_hosts_are_fewer_where_memory_forbids_and_that_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert hosts.fitting(3, 3 * LAB_MIB) == 3
    assert not capsys.readouterr().out
    assert hosts.fitting(3, 3 * LAB_MIB - 1) == 2
    assert capsys.readouterr().out == "3 labs take 15000 MiB; 14999 MiB are free, so 2 at most\n"


def test_what_many_hosts_found_is_held_against_what_one_did() -> None:
    def made(host: str, verdicts: dict[str, Verdict]) -> list[CaseRecord]:
        return [replace(case(verdict, name), host=host) for name, verdict in verdicts.items()]

    one = made("lab1", {"a": "pass", "b": "deviation", "c": "skip"})
    many = [*made("lab1", {"a": "pass"}), *made("lab2", {"b": "fail", "d": "pass"})]
    assert hosts.apart(one, one) == []
    assert hosts.apart(one, many) == [
        "ptp.b: deviation alone, fail on many",
        "ptp.c: skip alone, not run on many",
        "ptp.d: not run alone, pass on many",
    ]
    said = hosts.report(one, many, {"one": 100, "many": 40})
    assert "2 hosts: 3 cases in 40 s, 2.50 times as fast" in said
    assert "  lab2: 2 cases" in said and "ptp.b" in said
    assert "the verdicts are the same" in hosts.report(one, one, {"one": 1, "many": 1})


HOLDING = """
import os, time
from pathlib import Path
import pytest
pytestmark = pytest.mark.case("driver")

@pytest.fixture(scope="session")
def changed():
    Path("changed").touch()
    yield
    time.sleep(12)  # longer than pytest-xdist waits
    Path("changed").unlink()

def test_holding(changed):
    time.sleep(100)
"""


def test_an_interrupted_run_waits_until_its_hosts_are_put_back(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """SIGTERM is for the controller only, as a CI job's is."""
    prepare(pytester, {"gw0": has("alpha")}, test_stress=HOLDING, test_ptp="", test_lifecycle="")
    argv = (sys.executable, "-m", "pytest", *options(tmp_path, 1))
    changed = pytester.path / "changed"
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, stdout=log) as session:
        Deadline(300, "the case").poll(changed.exists)
        session.terminate()
        session.wait(300)
    assert not changed.exists()
    assert not list(tmp_path.glob("*/claim.json"))


SLOW_END = """
@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config):
    if worker_id(config):
        time.sleep(2)

def pytest_testnodedown(node, error):
    run_dir = node.config.stash[BENCH_OPTIONS].run_dir
    if list(run_dir.glob("*/claim.json")):
        (run_dir / "held").touch()
"""


def test_a_worker_that_says_it_is_done_holds_no_host(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    """Who is interrupted just then would wait for it in vain."""
    prepare(pytester, {"gw0": has("alpha")}, test_lifecycle="")
    with pytester.path.joinpath("conftest.py").open("a") as conftest:
        conftest.write(SLOW_END)
    result = pytester.runpytest_subprocess(*options(tmp_path, 1))
    assert result.ret == pytest.ExitCode.OK
    assert not (tmp_path / "held").exists()
