"""What a run prints while it goes on, by real pytest sessions."""

from __future__ import annotations

import pytest

from suites.selftest.support import command

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.fixture
def lacking():
    pytest.skip("sriov: permission sriov")

def test_of_a_path_that_is_missing(lacking): pass
def test_of_one_that_is_there(): pass
"""


@pytest.mark.parametrize(("options", "letters"), [((), True), (("--progress",), False)])
def test_lines_have_no_letters_before_them(
    options: tuple[str, ...], letters: bool, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(TESTS)
    result = command.session(pytester, "-q", "-p", "fixtures.common.progress", *options)
    assert result.parseoutcomes() == {"passed": 1, "skipped": 1}
    assert ("s." in result.stdout.str().splitlines()[0]) is letters


def test_a_file_that_cannot_be_collected_is_told_and_ends_nothing_else(
    pytester: pytest.Pytester,
) -> None:
    """With progress, whose plugins look at every report."""
    pytester.makepyfile("import nothing_of_this_name")
    names = ("common.options", "common.progress", "qualification.certificate")
    plugins = (f"-pfixtures.{name}" for name in names)
    result = command.session(pytester, *plugins, "--progress")
    assert result.parseoutcomes() == {"errors": 1}
    assert result.ret == pytest.ExitCode.INTERRUPTED
