"""A NIC that is no good is found to be not fit, and not called undecided as if the rig had failed.

Each test has the lab's host get a NIC with a defect, qualifies it by some cases in a pytest session
of its own, and looks at what the certificate says: the case that is about the defect fails, another
that merely runs into it is in error, a third that has nothing to do with it passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from fixtures.common.progress import Progress
from fixtures.qualification.qualify import OPENING, opened_rig
from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired
from harness.labs.base import Lab
from harness.qualify.checks.digest import State, differences, digest
from harness.qualify.rig.rig import Rig
from harness.records.cases import CERTIFICATE, Certificate, family_of
from harness.runs.suite import ROOT, ROOTED
from suites.drill.defects import DEFECTS, Defect

SUITE = ROOT / "suites" / "qualification"

SETTLED = 10.0
"""Seconds that interfaces of a driver that was loaded again may take to have their addresses."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(0)]  # each case of the session has its own


@dataclass
class Given:
    """A plugin of one session: the rig is in the given lab."""

    lab: Lab

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[OPENING] = self.opened

    @contextmanager
    def opened(self, config: pytest.Config, progress: Progress) -> Iterator[Rig]:  # noqa: ARG002
        with opened_rig(self.lab, config) as rig:
            yield rig


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_nic_with_a_defect_is_not_fit(
    defect: Defect, lab: Lab, tmp_path: Path, progress: Progress
) -> None:
    before = digest(lab.host)
    with defect.present(lab):
        certificate = qualified(lab, defect, tmp_path)
    assert not changed(lab, before)
    assert certificate.verdict == "not fit", certificate.because
    found = {case.id: case for case in certificate.cases}
    assert {name: case.verdict for name, case in found.items()} == defect.verdicts
    (failed,) = (case for case in found.values() if case.verdict == "fail")
    assert re.search(defect.says, failed.reason), failed.reason
    progress.line(f"  {defect.name}: {failed.id} fails: {failed.reason}")


def qualified(lab: Lab, defect: Defect, directory: Path) -> Certificate:
    """What the defect's cases find; what the session prints is kept beside its results."""
    families = ",".join(dict.fromkeys(map(family_of, defect.verdicts)))
    argv = (
        *(*ROOTED, "-p", "no:cacheprovider"),
        *(f"--family={families}", f"--run-dir={directory / 'run'}", "-k", words(defect)),
        *("--no-history", "--capture=no", "--progress", "-rN", str(SUITE)),
    )
    log = directory / "pytest.log"
    with log.open("w") as file, redirect_stdout(file):
        status = pytest.main(list(argv), plugins=[Given(lab)])
    assert status == pytest.ExitCode.TESTS_FAILED, f"pytest ended with {status}, see {log}"
    whole = (directory / "run" / f"{CERTIFICATE}.json").read_bytes()
    return msgspec.json.decode(whole, type=Certificate)


def words(defect: Defect) -> str:
    """The defect's cases, for -k."""
    names = (case.partition(".")[2].partition("[")[0] for case in defect.verdicts)
    return " or ".join(f"test_{name.replace('-', '_')}" for name in dict.fromkeys(names))


def changed(lab: Lab, before: State) -> tuple[str, ...]:
    """What is not as it was before."""
    with suppress(DeadlineExpired):
        Deadline(SETTLED, "the host as before").poll(
            lambda: not differences(before, digest(lab.host)), interval=0.5
        )
    return differences(before, digest(lab.host))
