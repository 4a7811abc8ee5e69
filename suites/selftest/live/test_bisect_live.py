"""The example of docs/bisect.md, in the nested lab: a real history, and `ab` as the judge."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from harness.hosts.local import LocalHost
from harness.runs.suite import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(3600)]

WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@example.org"))
}


def test_the_example_of_the_documents_finds_its_commit(tmp_path: Path) -> None:
    """Each access to a register that is not mapped is an exit."""
    _, _, example = (ROOT / "docs/bisect.md").read_text().partition("## An example")
    lines = re.findall(r"^ {4}(.*)$", example, re.MULTILINE)
    (bisect,) = (each for each in lines if each.startswith("nicproof bisect"))
    history = "\n".join(each for each in lines if each != bisect)
    host = LocalHost(env={**WHO, "PYTHONPATH": str(ROOT)})
    host.run(("bash", "-ec", f"cd {tmp_path}\n{history}"))
    tree = tmp_path / "options"
    options, _, build = shlex.join(shlex.split(bisect)[1:]).partition(" -- ")
    more = "--lab=nested --no-history --json"
    argv = f"cd {tree} && {sys.executable} -m harness.cli {options} {more} -- {build}"
    result = host.run(("bash", "-c", argv), timeout=3500, check=False)
    assert result.returncode == 0, result.text + result.error
    found = json.loads(result.text)
    assert found["subject"] == "Trace accesses to the registers"
    worse = {(each["path"], each["metric"]): each for each in found["worse"]}
    assert found["steps"][0]["verdict"] == "bad"
    figure = worse["sriov", "exits_per_packet"]
    assert figure["interval"][0] > 1.0 and figure["ratio"] > 1.5
    assert host.run(("git", "-C", str(tree), "status", "--porcelain")).text in ("", "?? results/\n")
    branch = host.run(("git", "-C", str(tree), "log", "-1", "--format=%s", "HEAD")).text
    assert branch == "Say where tracing is told\n"
