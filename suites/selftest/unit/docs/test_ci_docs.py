"""The jobs of docs/ci.md as they stand: their steps run, and what they upload is there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.records.history.runs import open_history
from harness.runs.suite import ROOT
from suites.selftest.support.synthetic_run import make_run

yaml = pytest.importorskip("yaml", reason="PyYAML, which labgrid brings")

NO_LAB = """
import os
import msgspec, pytest
from fixtures.common.options import begun
from suites.selftest.support.synthetic_run import make_run, write_run

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    number = int(os.environ["NUMBER"])
    info, trials = make_run(6, paths=("sriov",), workloads=("tcp-tx",), trials=1, seed=number)
    named = msgspec.structs.replace(info, run=f"job-{number}")
    write_run(begun(session.config).run_dir, named, trials)
    return True
"""
"""The checkout's nicproof has no lab, so its pytest makes up a run."""


def section(name: str) -> str:
    """The job below that heading."""
    text = (ROOT / "docs" / "ci.md").read_text().partition(f"\n## {name}\n")[2]
    block = re.search(r"```(?:yaml|groovy)\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1]


@dataclass(frozen=True)
class Step:
    """What a job does with nicproof, as a shell is told; what it uploads then, as patterns."""

    script: str
    env: dict[str, str]
    uploads: Sequence[str]


def github(event: str, number: int) -> Step:
    """Placeholders filled in as GitHub does."""
    job: dict[str, Any] = yaml.safe_load(section("GitHub"))["jobs"]["bench"]
    known = {
        "github.run_id": f"{number}",
        "github.run_attempt": "1",
        "github.event.number": "7",
    }

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda match: known[match[1]], text)

    env = {name: filled(text) for name, text in job["env"].items()}
    known |= {f"env.{name}": text for name, text in env.items()}
    (script,) = [each["run"] for each in job["steps"] if f"'{event}'" in each.get("if", "")]
    uses = {each["uses"].partition("@")[0]: each["with"] for each in job["steps"] if "uses" in each}
    uploads = [uses["actions/upload-artifact"]["path"]]
    uploads.append(uses["mikepenz/action-junit-report"]["report_paths"])
    return Step(filled(script), env, [filled(each) for each in uploads])


def gitlab_jobs() -> dict[str, Any]:
    """Each job with what it extends; variables are beside them."""
    whole: dict[str, Any] = yaml.safe_load(section("GitLab"))
    hidden = {name: whole.pop(name) for name in list(whole) if name.startswith(".")}
    return {
        name: {**hidden[job["extends"]], **{k: v for k, v in job.items() if k != "extends"}}
        if "extends" in job
        else job
        for name, job in whole.items()
    }


def gitlab(event: str, number: int) -> Step:
    whole = gitlab_jobs()
    job = whole["baseline" if event == "push" else "judge"]
    env = {**whole["variables"], "CI_MERGE_REQUEST_IID": "7", "CI_JOB_ID": f"{number}"}
    reports = job["artifacts"]["reports"]
    kept = reports if event != "push" else {k: v for k, v in reports.items() if k != "metrics"}
    return Step("\n".join(job["script"]), env, [*job["artifacts"]["paths"], *kept.values()])


def jenkins(event: str, number: int) -> Step:
    text = section("Jenkins").replace("${BUILD_NUMBER}", f"{number}")
    stage = text.partition(f"stage('{'baseline' if event == 'push' else 'judge'}')")[2]
    script = re.search(r"sh '(.*)'", stage)
    environment = re.search(r"environment \{(.*?)\n    \}", text, re.DOTALL)
    assert script is not None and environment is not None
    env = {name: value for name, _, value in re.findall(r"(\w+) = (['\"])(.*?)\2", environment[1])}
    uploads = re.findall(r"(?:testResults|artifacts): \"(.*?)\"", text)
    told = re.search(r"def told = \"(.*?)\"", text)
    assert len(uploads) == 2 and told is not None
    return Step(script[1], env | {"CHANGE_ID": "7"}, [*uploads, *[told[1]] * (event != "push")])


SYSTEMS: dict[str, Callable[[str, int], Step]] = {
    "GitHub": github, "GitLab": gitlab, "Jenkins": jenkins
}  # fmt: skip


class Runner:
    """A runner on the lab: one workspace for all jobs."""

    def __init__(self, workspace: Path, step: Callable[[str, int], Step]) -> None:
        self.workspace, self.step = workspace, step
        program = workspace / "nicproof" / ".venv" / "bin" / "nicproof"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m harness.cli "$@"\n')
        program.chmod(0o755)
        (workspace / "no_lab.py").write_text(NO_LAB)

    def run(self, event: str, number: int) -> tuple[CommandResult, list[list[Path]]]:
        """The job's end, and what each of its uploads found."""
        step = self.step(event, number)
        ours = {
            "NICPROOF_HISTORY": str(self.workspace / "history.db"),
            "PYTHONPATH": f"{ROOT}:{self.workspace}",
            "PYTEST_ADDOPTS": "-pno_lab",
            "NUMBER": f"{number}",
            "CI": "true",
        }
        script = self.workspace / "step.sh"
        script.write_text(f"cd {self.workspace}\n{step.script}\n")
        result = LocalHost(env={**step.env, **ours}).run(
            ("bash", "-e", str(script)), timeout=300, check=False
        )
        return result, [list(self.workspace.glob(each)) for each in step.uploads]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_push_adds_to_the_series_and_a_change_is_judged_by_it(
    system: str, tmp_path: Path
) -> None:
    runner = Runner(tmp_path, SYSTEMS[system])
    with open_history(str(tmp_path / "history.db")) as history:
        for seed in range(1, 6):
            info, trials = make_run(6, paths=("sriov",), workloads=("tcp-tx",), trials=1, seed=seed)
            history.add(msgspec.structs.replace(info, run=f"job-{seed}"), trials, "main")
        before = len(history.entries("main"))
    result, uploads = runner.run("push", 11)
    assert result.returncode == 0, result.text + result.error
    assert all(uploads), uploads
    with open_history(str(tmp_path / "history.db")) as history:
        assert len(history.entries("main")) == before + 1
    if system == "GitLab":  # which cleans between jobs
        (quality,) = tmp_path.glob("results/**/gl-code-quality.json")
        assert json.loads(quality.read_text()) == []
        LocalHost().run(("rm", "-r", str(tmp_path / "results")))
    result, uploads = runner.run("pull_request", 12)
    assert result.returncode == 0, result.text + result.error
    assert "baseline: 6 runs" in result.text
    assert all(uploads), uploads


def test_the_workflow_works_twice_in_one_workspace(tmp_path: Path) -> None:
    runner = Runner(tmp_path, github)
    for number in (1, 2):
        result, ((uploaded,), _) = runner.run("push", number)
        assert result.returncode == 0, result.text + result.error
        assert (uploaded / "report.html").exists() and (uploaded / "junit.xml").exists()
    with open_history(str(tmp_path / "history.db")) as history:
        assert history.find("main")


def test_a_signal_of_the_runner_reaches_the_command() -> None:
    """It is sent to the step's shell alone."""
    for event in ("push", "pull_request"):
        assert github(event, 1).script.startswith("exec nicproof/.venv/bin/nicproof bench ")


@pytest.mark.parametrize("system", ["GitHub", "GitLab"])
def test_a_pipeline_is_what_its_published_schema_says(system: str, tmp_path: Path) -> None:
    """GitLab's schema looks into no hidden job, so each job is given with what it extends."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema, which has the schemas")
    name = {"GitHub": "github-workflows", "GitLab": "gitlab-ci"}[system]
    file = tmp_path / "job.json"
    # YAML 1.1, which PyYAML reads, has `on` for true.
    whole = yaml.safe_load(section(system).replace("\non:", "\n'on':"))
    file.write_text(json.dumps(gitlab_jobs() if system == "GitLab" else whole))
    argv = ("-m", "check_jsonschema", "--builtin-schema", f"vendor.{name}", str(file))
    result = LocalHost().run((sys.executable, *argv), timeout=120, check=False)
    assert result.returncode == 0, result.text + result.error
    worse = file.read_text().replace('"always"', '"sometimes"').replace('"runs-on"', '"run-on"')
    file.write_text(worse)
    result = LocalHost().run((sys.executable, *argv), timeout=120, check=False)
    assert result.returncode == 1, "and a mistake is seen"


def test_a_jenkinsfile_is_a_declarative_pipeline() -> None:
    """Its sections are those that there are, each stage has steps, and what is open is closed."""
    text = section("Jenkins")
    code = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|//[^\n]*", "", text)
    assert "'" not in code and '"' not in code
    depth, places = 0, []
    for word in re.findall(r"[A-Za-z]+(?=[^\n{}]*\{)|[{}]", code):
        depth += {"{": 1, "}": -1}.get(word, 0)
        places.append((depth, word))
        assert depth >= 0
    assert depth == 0 and places[0] == (0, "pipeline")
    sections = {word for depth, word in places if depth == 1 and word.isalpha()}
    assert sections == {"agent", "options", "environment", "stages", "post"}
    assert len(re.findall(r"stage\(\)", code)) == code.count("steps {") == 3
    assert {"always", "failure"} <= {word for depth, word in places if depth == 2}
