"""`nicproof qualify` as a user starts it, and the list of its cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fixtures.qualification import caselist, cases
from fixtures.qualification.qualify import FIDELITY
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.qualify.fidelity import load
from harness.records.cases import FAMILIES
from harness.runs.suite import ROOT


def qualify(*options: str) -> CommandResult:
    argv = (sys.executable, "-m", "harness.cli", "qualify", "--lab=nested", *options)
    return LocalHost(env={"PYTHONPATH": str(ROOT)}).run(argv, timeout=400, check=False)


def test_the_list_of_cases_is_the_one_in_docs() -> None:
    listed = qualify("--list").checked().text
    assert listed == (ROOT / "docs" / "cases.md").read_text(), "make docs/cases.md again"
    for family in FAMILIES.values():
        assert f"## {family} (" in listed


def test_deviations_are_of_cases_that_there_are() -> None:
    listed = load(FIDELITY)
    known = {cases.case_id(item) for item in caselist.collect()}
    assert listed and not listed.keys() - known


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--soak", "soon"), "write it as 90s, 10m or 2h"),
        (("--family", "livelihood"), "choose from discovery"),
        (("--nic", "eth0"), "is not a PCI address"),
        (("--nic", "0000:07:00.0"), "no port of this lab"),
    ],
)
def test_wrong_options_are_told_before_anything_starts(
    options: tuple[str, ...], message: str
) -> None:
    result = qualify(*options)
    assert result.returncode == 2
    assert message in result.error and "Traceback" not in result.error


def test_a_rig_that_never_stood_is_told_once_and_has_no_certificate(tmp_path: Path) -> None:
    """As after a kill, when the host wants `restore` first."""
    port = '[[host.a.port]]\nbdf = "0000:01:00.{}"\npartner = "0000:01:00.{}"\n'
    lab = tmp_path / "lab.toml"
    host = '[host.a]\naddress = "127.0.0.1"\nssh_port = 9\n'
    lab.write_text(host + port.format(0, 1) + port.format(1, 0))
    result = qualify(f"--lab={lab}", f"--run-dir={tmp_path}/run", "--family=discovery")
    output = result.text + result.error
    assert result.returncode == 1, output
    assert "no lab: a: cannot connect" in output
    assert "subject.json" not in output and "certificate" not in output


@pytest.mark.lab
@pytest.mark.timeout(500)
def test_a_short_qualification_ends_with_a_certificate(tmp_path: Path) -> None:
    """Of the lab's other port, to see that --nic is heeded."""
    run_dir = tmp_path / "run"
    chosen = ("--family=lifecycle", "--nic=0000:02:00.0", f"--run-dir={run_dir}")
    result = qualify(*chosen, "--", "-k", "most_vfs or refused")
    assert result.returncode == 0, result.text + result.error
    assert f"certificate: {run_dir}/certificate.html" in result.text
    whole = json.loads((run_dir / "certificate.json").read_text())
    assert whole["subject"]["bdf"] == "0000:02:00.0"
    assert {case["verdict"] for case in whole["cases"]} == {"pass"} and len(whole["cases"]) >= 4
    assert whole["verdict"] == "undecided", "a few cases make no certificate"
    assert "only some were run" in whole["because"]
