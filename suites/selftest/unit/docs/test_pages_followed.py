"""docs/contributing, followed: what it says to write is seen where it says it will be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.support import newcomer
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.newcomer import Copy


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Every page followed in it."""
    copy = Copy.made(tmp_path_factory.mktemp("newcomer") / "tree")
    newcomer.follow_path(copy)
    newcomer.follow_workload_and_metric(copy)
    newcomer.follow_case(copy)
    newcomer.follow_profile(copy)
    newcomer.follow_check(copy)
    newcomer.follow_ablation(copy)
    return copy


def test_help_names_the_path_and_the_workload(copy: Copy) -> None:
    help_text = " ".join(copy.nicproof("bench", "--help").checked().text.split())
    assert "passthrough, sriov, sriov-trusted" in help_text
    assert "udp, latency," in help_text and ", flood" in help_text


def test_help_names_the_ablation_and_what_is_expected_of_it(copy: Copy) -> None:
    help_text = copy.nicproof("ab", "--help").checked().text
    assert "mrg_rxbuf" in help_text


def test_the_metric_is_known_by_its_name(copy: Copy, tmp_path: Path) -> None:
    asked = copy.nicproof("history", "plot", "round_trip", f"--history={tmp_path}/history.db")
    assert asked.returncode == 2 and "round_trips" in asked.error


def test_the_case_is_in_the_list(copy: Copy) -> None:
    listed = copy.nicproof("qualify", "--list").checked().text
    assert "The driver of the PF counts what it receives" in listed


def test_a_dump_is_held_against_the_profile(copy: Copy) -> None:
    dump = CAPTURED / "pci" / "x710-wrapped.txt"
    shown = copy.nicproof("nic", "show", "--dump", str(dump)).checked().text
    assert "X710" in shown and "without a profile" not in shown


def test_doctor_says_what_the_check_has_found(copy: Copy) -> None:
    found = copy.nicproof("doctor", "--json")
    assert '"swap"' in found.text, found.error
