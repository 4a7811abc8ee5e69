"""`--json`: every command that prints a table has it, and its keys are those of docs/json.md."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.main import command_line
from harness.hosts.base import CommandResult
from harness.labs.nested.keeper import LabState
from harness.records.history.runs import open_history
from harness.runs.bisect import Found
from harness.runs.suite import ROOT
from suites.selftest.support import command
from suites.selftest.support.qualified import real
from suites.selftest.support.synthetic_run import make_run, write_run

LAB = """
[host.a]
address = "local"
[[host.a.port]]
bdf = "0000:01:00.0"
partner = "0000:01:00.1"
"""

TABLES = {
    "bench --plan": "--lab=nested --paths=sriov --no-history",
    "ab --plan": "--lab=nested --paths=sriov --no-history --a=--queues=2",
    "sweep --plan": "--lab=nested --paths=virtio --no-history --over=queues=1,2",
    "qualify --plan": "--lab=nested --family=stress",
    "qualify --list": "--family=stress",
    "compare": "{run} {run}",
    "report": "{run}",
    "history": "--history={history}",
    "history list": "--history={history}",
    "history qualifications": "--history={history}",
    "lab status": "",
    "cache": "",
    "inventory check": "{inventory}",
    "doctor": "",
    "nic show": "--dump {dump}",
}
"""What prints a table, and by which arguments the test has it print one."""

STARTING = {
    "lab up": "starts a lab; prints what `lab status` does",
    "bisect": "builds and boots; see unit/runs/test_bisect.py",
}

OTHERS = {
    "history plot": "draws",
    "history site": "writes pages",
    "history import": "tells each run as it comes in",
    "history export": "writes a file",
    "history forget": "removes",
    "lab shell": "whatever the shell prints",
    "lab down": "stops",
    "lab build": "builds",
    "cache prune": "removes",
    "inventory discover": "prints a lab.toml",
    "restore": "undoes, a line each",
    "persist": "prints files",
    "completion": "prints a script",
}
"""What prints no table, and what it does instead."""

SAME = {"ab --plan": "bench --plan", "sweep --plan": "bench --plan", "history list": "history"}
"""Whose keys are those of another one."""


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something by itself, by its words."""
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if parser.get_default("handler") is not None:
        yield parser.prog.partition(" ")[2], parser
    for action in below:
        for each in action.choices.values():
            yield from leaves(each)


COMMANDS = dict(leaves(command_line()))


def words(name: str) -> str:
    """The command of a table that an option chooses."""
    return name.partition(" --")[0]


def test_each_command_prints_a_table_or_says_what_else() -> None:
    tables = {words(name) for name in TABLES} | set(STARTING)
    assert tables | set(OTHERS) == set(COMMANDS) and not tables & set(OTHERS)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_prints_a_table_has_the_flag(name: str) -> None:
    flags = {flag for action in COMMANDS[name]._actions for flag in action.option_strings}
    assert ("--json" in flags) is (name not in OTHERS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the commands are given, by the names in TABLES."""
    place = tmp_path_factory.mktemp("json")
    info, records = make_run(6, paths=("virtio", "sriov"), workloads=("tcp-tx",), trials=1)
    run = write_run(place / "run", info, records)
    with open_history(str(place / "history.db")) as history:
        history.add(info, records, "main")
        history.qualifications.add(*real())
    (place / "lab.toml").write_text(LAB)
    dump = ROOT / "suites/selftest/data/pci/82576.txt"
    inventory = place / "lab.toml"
    return {"run": run, "history": place / "history.db", "inventory": inventory, "dump": dump}


def printed(name: str, files: dict[str, Path]) -> CommandResult:
    arguments = TABLES[name].format(**files).split()
    return command.nicproof(*name.split(), *arguments, "--json")


def keys_of(document: Any) -> set[str]:
    """Of the document, or of each element of it."""
    if isinstance(document, list):
        assert document, "there is something to print"
        assert len({frozenset(each) for each in document}) == 1, "all have the same"
        return set(document[0])
    return set(document)


def documented(name: str) -> set[str]:
    """The keys in the first paragraph of a section that has any."""
    _, found, text = (ROOT / "docs/json.md").read_text().partition(f"\n## nicproof {name}\n")
    assert found, f"docs/json.md says nothing of {name}"
    paragraphs = text.partition("\n## ")[0].split("\n\n")
    listed = next(each for each in paragraphs if re.search(r"`\w+`\s`\w+`", each))
    return set(re.findall(r"`(\w+)`", listed)) - {"null"}


@pytest.mark.parametrize("name", [each for each in TABLES if each != "lab status"])
def test_its_document_has_the_keys_that_are_documented(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "nicproof").mkdir()
    (tmp_path / "nicproof/keeper.log").write_text("of a lab that was up")
    result = printed(name, files)
    assert result.returncode in (0, 1), result.error
    assert keys_of(json.loads(result.text)) == documented(SAME.get(name, name))


def test_a_lab_that_is_up_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = LabState(1, 2, 22, "nested-tcg", "virtual-smp", 4, "10.0.13", str(tmp_path), "", 0.0)
    assert keys_of(state.document()) == documented("lab status")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = command.nicproof("lab", "status", "--json")
    assert (result.returncode, json.loads(result.text)) == (1, None), "none is"


def test_what_a_bisect_finds_is_documented() -> None:
    assert keys_of(msgspec.to_builtins(Found(good="", bad=""))) == documented("bisect")


def test_what_goes_wrong_is_no_document(tmp_path: Path) -> None:
    result = command.nicproof("report", str(tmp_path), "--json")
    assert (result.returncode, result.text) == (2, "")
    assert result.error.startswith("nicproof: ")
