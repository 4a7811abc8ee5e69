"""What the documents name is there: files behind links, commands and their options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from harness.cli.main import command_line
from harness.runs.suite import ROOT

DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
LINK = re.compile(r"(?:\]\(|src=\")([^)#:\s\"]+)(?:#[^)]*)?[)\"]")  # to a file, not to another site
LINE = re.compile(r"^ {4}(?:sudo )?(nicproof .*)|`(?:sudo )?(nicproof [^`]*)`", re.MULTILINE)
NO_COMMAND = re.compile(r"[|]|\.\.\.|\$\(|^nicproof [A-Z*]|^nicproof( --?\w+)?$")
"""Several in one line, parts left out, what a shell fills in, a word that stands for a command."""


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    targets = LINK.findall(document.read_text())
    assert [each for each in targets if not (document.parent / each).exists()] == []


def commands(document: Path) -> list[str]:
    found = (shown or quoted for shown, quoted in LINE.findall(document.read_text()))
    return [each.strip() for each in found if not NO_COMMAND.search(each.split("  #")[0])]


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if commands(each)], ids=name)
def test_every_command_is_one_that_there_is(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With options that it has. What it is to be done to may be left out."""
    wrong = []
    for line in commands(document):
        try:
            command_line().parse_args(shlex.split(line, comments=True)[1:])
        except SystemExit as ended:
            said = capsys.readouterr().err
            if ended.code and "arguments are required" not in said:
                wrong.append((line, said.splitlines()[-1]))
    assert wrong == []
