"""The documents are easy to read: short sentences, and lines that an editor shows whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.selftest.support.remedies import MARK
from suites.selftest.unit.docs.test_documents import DOCUMENTS, name

WORDS = 25
"""A sentence has fewer."""

WIDTH = 120
"""A line has fewer columns; rows of tables, and what is shown as it is typed, are not broken."""

MADE = {
    *("docs/commands.md", "docs/cases.md", "docs/certificate/certificate.md"),
    *("docs/calibration/calibration.md", "docs/calibration/levels.md", "docs/calibration/pairs.md"),
    "docs/clocks/clocks.md",
}
"""Programs write them."""

WRITTEN = {"CHANGELOG.md"}
"""Not yet as the others are."""

_APART = re.compile(r"^(\||#|<|```|!\[[^\]]*\]\([^)]*\)$)")
_ITEM = re.compile(r"^\s*([-*]|\d+\.) ")
_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\.\.)[.!?][)\"*]*\s+")


def read(document: Path) -> list[Path]:
    ours = name(document) not in MADE | WRITTEN and "docs/adr/0" not in name(document)
    return [document] if ours else []


READ = [found for document in DOCUMENTS for found in read(document)]


def prose(document: Path) -> str:
    """What people have written of it."""
    return document.read_text().partition(MARK)[0]


def lines(text: str) -> Iterator[str]:
    """Those that are prose, in order; "" for each that is code, a table, a heading or a picture."""
    fenced = shown = False
    before = ""
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        shown = line.startswith("    ") and (shown or not before.strip())
        yield "" if fenced or shown or _APART.match(line.strip()) else line
        before = line


def paragraphs(text: str) -> Iterator[str]:
    """Each one, and each item of a list, as one line."""
    whole = ""
    for line in (*lines(text), ""):
        if whole and (not line.strip() or _ITEM.match(line)):
            yield whole
            whole = ""
        whole = f"{whole} {_ITEM.sub('', line).strip()}".strip()


def sentences(text: str) -> Iterator[str]:
    """What is quoted from a machine is one word, and of a link its text counts."""
    for paragraph in paragraphs(text):
        plain = re.sub(r"`[^`]*`", "code", paragraph)
        yield from _END.split(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain))


def words(sentence: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def test_sentences_are_counted() -> None:
    text = "# A heading is none\n\nOne `two of them` [three four](five.md).\nOne (two). *One* two\n"
    listed = "- one\n  two\n- one two three, e.g. four\n\n    code is none\n\n| nor | tables |\n"
    assert [words(each) for each in sentences(text + listed)] == [4, 2, 2, 2, 5]


@pytest.mark.parametrize("document", READ, ids=name)
def test_sentences_are_short(document: Path) -> None:
    long = [each for each in sentences(prose(document)) if words(each) >= WORDS]
    assert long == [], f"{WORDS} words or more"


@pytest.mark.parametrize("document", READ, ids=name)
def test_lines_fit(document: Path) -> None:
    wide = [each for each in lines(prose(document)) if len(each) >= WIDTH and " " in each.strip()]
    assert wide == [], f"{WIDTH} columns or more"
