"""The workflow of docs/ci.md as it stands: its steps run, again and again, in one workspace."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.records.history.runs import open_history
from harness.runs.suite import ROOT
from suites.selftest.unit.records.test_history_bench import WITHOUT_LAB

yaml = pytest.importorskip("yaml", reason="PyYAML, which labgrid brings")


class Runner:
    """A self-hosted runner: one workspace for all jobs. The checkout's nicproof has no lab, so its
    pytest makes up a run."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
        assert block is not None
        self.job: dict[str, Any] = yaml.safe_load(block[1])["jobs"]["bench"]
        program = workspace / "nicproof" / ".venv" / "bin" / "nicproof"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness.cli "$@"\n')
        program.chmod(0o755)
        (workspace / "without_lab.py").write_text(WITHOUT_LAB)

    def step(self, event: str) -> str:
        """The command of that event."""
        (found,) = [each["run"] for each in self.job["steps"] if f"'{event}'" in each.get("if", "")]
        return str(found)

    def run(self, event: str, number: int) -> tuple[CommandResult, Path]:
        """As GitHub's runner does it; also the directory that is then uploaded."""
        known = {
            "github.run_id": f"{number}",
            "github.run_attempt": "1",
            "github.event.number": "7",
        }

        def filled(text: str) -> str:
            return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: known[match[1]], text)

        env = {name: filled(text) for name, text in self.job["env"].items()}
        known |= {f"env.{name}": text for name, text in env.items()}
        env["NICPROOF_HISTORY"] = str(self.workspace / "history.db")
        ours = {"PYTHONPATH": f"{ROOT}:{self.workspace}", "PYTEST_ADDOPTS": "-pwithout_lab"}
        script = self.workspace / "step.sh"
        script.write_text(f"cd {self.workspace}\n{filled(self.step(event))}\n")
        result = LocalHost(env={**env, **ours, "CI": "true"}).run(
            ("bash", "-e", str(script)), timeout=300, check=False
        )
        (uploaded,) = [
            filled(each["with"]["path"])
            for each in self.job["steps"]
            if "upload-artifact" in each.get("uses", "")
        ]
        return result, self.workspace / uploaded


def test_the_workflow_works_twice_in_one_workspace(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    for number in (1, 2):
        result, uploaded = runner.run("push", number)
        assert result.returncode == 0, result.text + result.error
        assert (uploaded / "report.html").exists() and (uploaded / "junit.xml").exists()
    with open_history(str(tmp_path / "history.db")) as history:
        assert history.find("main")


def test_a_signal_of_the_runner_reaches_the_command(tmp_path: Path) -> None:
    """It is sent to the step's shell alone."""
    runner = Runner(tmp_path)
    for event in ("push", "pull_request"):
        assert runner.step(event).startswith("exec nicproof/.venv/bin/nicproof bench ")
