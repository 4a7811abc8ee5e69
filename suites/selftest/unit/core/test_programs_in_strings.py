"""Programs that stand in strings, which neither mypy nor the linters read: what they import is
there. A move of a module that forgets one breaks a test, or a user's run, far from here."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.runs.suite import ROOT

OURS = ("harness", "fixtures", "suites", "reports")
_ROOMS = "|".join(OURS)
_FROM = re.compile(rf"(?:^|[;\n])\s*from ((?:{_ROOMS})[\w.]*) import ([\w, ]+)")
_DOTTED = re.compile(rf"(?:{_ROOMS})(?:\.\w+)+")

OTHERS = {"suites/selftest/support/newcomer.py", str(Path(__file__).relative_to(ROOT))}
"""They speak of modules that are not in this tree."""


def strings(text: str) -> Iterator[str]:
    """Every string of a module; of one with values in it, the fixed parts."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def imported(text: str) -> Iterator[tuple[str, str]]:
    """(module, name in it) that a string imports, or is."""
    for module, names in _FROM.findall(text):
        for name in filter(None, (each.strip().partition(" as ")[0] for each in names.split(","))):
            yield module, name
    if _DOTTED.fullmatch(text):
        module, _, name = text.rpartition(".")
        yield module, name


def is_there(module: str, name: str) -> bool:
    try:
        if hasattr(importlib.import_module(module), name):
            return True
        importlib.import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True


FILES = [
    str(path.relative_to(ROOT))
    for room in OURS
    for path in sorted((ROOT / room).rglob("*.py"))
    if any(any(imported(text)) for text in strings(path.read_text()))
]


@pytest.mark.parametrize("file", sorted({*FILES} - OTHERS))
def test_what_they_import_is_there(file: str) -> None:
    found = {each for text in strings(Path(ROOT, file).read_text()) for each in imported(text)}
    assert not [each for each in sorted(found) if not is_there(*each)]


def test_one_that_is_not_there_is_found() -> None:
    (gone,) = imported("import os\nfrom harness.pci.guard import refusals\n")
    assert gone == ("harness.pci.guard", "refusals") and not is_there(*gone)
    assert list(imported("harness.core.errors")) == [("harness.core", "errors")]
