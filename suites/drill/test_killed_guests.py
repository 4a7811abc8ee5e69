"""The rig is broken in the middle of each family of cases, and the host is left as it was found.

Each test runs cases of one family in a pytest session of its own, against the one lab, until a
guest or a command on the host was killed and that case has come to its end; then the rig is closed.
A digest of the host from before there was any rig is compared with one from afterwards.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fixtures.common.progress import Progress
from fixtures.qualification.qualify import OPENING, opened_rig
from harness.labs.base import Lab
from harness.qualify.checks.digest import differences, digest
from harness.qualify.rig.rig import Rig
from harness.records.cases import FAMILIES
from harness.runs.options import BenchOptions
from harness.runs.suite import ROOT, ROOTED
from suites.drill.sabotage import Saboteur, Victim, endangered

SUITE = ROOT / "suites" / "qualification"

BROKEN = (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)

pytestmark = [pytest.mark.lab, pytest.mark.timeout(0)]  # each case of the session has its own


@dataclass
class Drill:
    """A plugin of one session: the rig is in the given lab, and in danger."""

    lab: Lab
    saboteur: Saboteur
    cases: int = 0  # that the family has for this victim
    during: str = ""  # the case that was struck
    _session: pytest.Session | None = field(default=None, repr=False)

    @property
    def in_danger(self) -> bool:
        """Whether there was anything to be killed."""
        return bool(self.saboteur.guests if self.saboteur.victim == "guest" else self.cases)

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[OPENING] = self.opened

    @contextmanager
    def opened(self, config: pytest.Config, progress: Progress) -> Iterator[Rig]:  # noqa: ARG002
        with opened_rig(self.lab, config) as rig:
            yield endangered(rig, self.saboteur)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """In a drawn order; only cases that may have a guest, if these are the victims."""
        self.saboteur.random.shuffle(items)
        if self.saboteur.victim == "guest":
            items[:] = with_guests(items)
        self.cases = len(items)

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        self.saboteur.armed = True
        try:
            return (yield)
        finally:
            self.saboteur.armed = False

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self.saboteur.struck and self._session is not None:
            self.during = nodeid.partition("::")[2]
            self._session.shouldstop = "the saboteur has struck"


def with_guests(items: list[pytest.Item]) -> list[pytest.Item]:
    """The cases that speak of guests themselves; if there are none, those of modules that do: where
    a guest is booted, it is called one."""
    functions = {item: getattr(item, "function", None) for item in items}
    themselves = [item for item in items if "guest" in item.nodeid + source(functions[item])]
    modules = [item for item in items if "guest" in source(inspect.getmodule(functions[item]))]
    return themselves or modules


def source(thing: Any) -> str:
    return inspect.getsource(thing) if thing is not None else ""


ATTEMPTS = 3
"""Sessions until a victim is struck; some cases are over before it is."""


@pytest.mark.parametrize("victim", ["guest", "command"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_is_left_as_it_was_found(
    family: str,
    victim: Victim,
    lab: Lab,
    tmp_path: Path,
    bench_options: BenchOptions,
    progress: Progress,
) -> None:
    drawn = Random(f"{bench_options.seed} {family} {victim}")
    drill = Drill(lab, Saboteur(victim, drawn))
    before = digest(lab.host)
    for attempt in range(ATTEMPTS):
        run(drill, family, tmp_path / str(attempt))
        if drill.saboteur.struck or not drill.in_danger:
            break
    assert not differences(before, digest(lab.host))
    if not drill.in_danger:
        pytest.skip(f"no case of {family} has a {victim}")
    struck = drill.saboteur.struck
    assert struck, f"no {victim} lived long enough to be killed, see {tmp_path}"
    progress.line(f"  {family}: killed {struck}, in {drill.during} (--seed={bench_options.seed})")


def run(drill: Drill, family: str, directory: Path) -> None:
    """The session; what it prints is kept beside its results."""
    argv = (
        *(*ROOTED, "-p", "no:cacheprovider"),
        *(f"--family={family}", f"--run-dir={directory / 'run'}", "--soak=10s"),
        *("--no-history", "--capture=no", "--progress", "-rN", str(SUITE)),
    )
    directory.mkdir()
    with (directory / "pytest.log").open("w") as log, redirect_stdout(log):
        status = pytest.main(list(argv), plugins=[drill])
    assert status not in BROKEN, f"pytest itself failed, see {directory / 'pytest.log'}"
