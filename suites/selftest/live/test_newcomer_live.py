"""docs/contributing, followed, and what came of it run in the nested lab, to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suites.selftest.support import newcomer
from suites.selftest.support.newcomer import Copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """With a path, a workload, a metric and a case of its own. A profile would make the guest's
    image anew."""
    copy = Copy.made(tmp_path_factory.mktemp("newcomer") / "tree")
    newcomer.follow_path(copy)
    newcomer.follow_workload_and_metric(copy)
    newcomer.follow_case(copy)
    return copy


def test_a_path_a_workload_and_a_metric_come_into_the_report(copy: Copy, tmp_path: Path) -> None:
    words = ("--paths=sriov-trusted", "--workloads=flood", "--boots=1", "--no-history")
    run_dir = tmp_path / "run"
    ended = copy.nicproof("bench", "--lab=nested", *words, f"--run-dir={run_dir}", limit=550.0)
    assert ended.returncode == 0, ended.text + ended.error
    report = (run_dir / "report.md").read_text()
    assert "Under a flood of pings, sriov-trusted needs" in report
    assert "Round trips" in report


def test_a_case_has_its_verdict(copy: Copy, tmp_path: Path) -> None:
    words = ("--family=discovery", f"--run-dir={tmp_path}/run", "--", "-k=statistics")
    ended = copy.nicproof("qualify", "--lab=nested", *words, limit=550.0)
    assert ended.returncode == 0, ended.text + ended.error
    certificate = json.loads((tmp_path / "run" / "certificate.json").read_text())
    assert certificate["counts"]["pass"] == 1
