"""What is said while the lab is made, where there is no terminal."""

from __future__ import annotations

import pytest

from harness.labs.nested.progress import shown


def test_a_long_step_is_told_of_at_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    with shown({"packages": 1.0, "compiling": 9.0}, wanted=True) as steps:
        steps.step("packages")
        steps.fraction(1.0)
        steps.step("compiling", "QEMU")
        for percent in range(101):
            steps.fraction(percent / 100)
    assert capsys.readouterr().err.splitlines() == [
        "nicproof: packages",
        "nicproof: compiling QEMU",
        "nicproof: compiling QEMU, 25 %",
        "nicproof: compiling QEMU, 50 %",
        "nicproof: compiling QEMU, 75 %",
    ]


def test_who_wants_nothing_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with shown({"packages": 1.0}, wanted=False) as steps:
        steps.step("packages")
        steps.fraction(0.5)
    assert capsys.readouterr().err == ""
