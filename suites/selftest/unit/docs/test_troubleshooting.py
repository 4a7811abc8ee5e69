"""docs/troubleshooting.md has every error that has a remedy, in the words of the source."""

from __future__ import annotations

import ast

import pytest

from harness.core.errors import HarnessError
from harness.core.status import Status
from harness.hosts.refusal import cannot_connect
from harness.inventory.fields import cpu_list
from harness.runs.suite import ROOT
from suites.selftest.support.remedies import MARK, PAGE, Errors, Told, page


@pytest.fixture(scope="module")
def found() -> list[Told]:
    return Errors().all()


def test_the_page_is_of_these_errors(found: list[Told]) -> None:
    by_hand, mark, made = PAGE.read_text().partition(MARK)
    assert mark, f"{PAGE} has no place for what is made"
    assert made == f"{page(found)}\n", "python -m suites.selftest.support.remedies"
    for status in Status:
        assert f"\n| {status.value} |" in by_hand


def test_no_remedy_of_the_source_is_missing(found: list[Told]) -> None:
    """Those that stand there as they are said, whatever leads to them."""
    told = "\n".join(each.remedy for each in found)
    plain = [
        keyword.value.value
        for package in ("harness", "fixtures", "reports")
        for path in (ROOT / package).rglob("*.py")
        for keyword in ast.walk(ast.parse(path.read_text()))
        if isinstance(keyword, ast.keyword) and keyword.arg == "remedy"
        if isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    ]
    assert len(plain) > 50
    assert [each for each in plain if each and each not in told] == []


@pytest.mark.parametrize("text", ["2-x", "7-3"])
def test_an_error_of_a_line_of_code_is_found_by_its_words(found: list[Told], text: str) -> None:
    with pytest.raises(HarnessError) as caught:
        cpu_list(text)
    made = caught.value
    assert made.remedy in [each.remedy for each in found if each.stands_for(made.message)]


def test_an_error_of_a_table_is_found_by_its_words(found: list[Told]) -> None:
    made = cannot_connect("alpha", "alpha", "Permission denied")
    assert made.remedy in [each.remedy for each in found if each.stands_for(made.message)]
