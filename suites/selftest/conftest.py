"""What self-tests need from the machine they run on; a test is skipped where it is absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from fixtures.common.lab import opened_bench
from fixtures.common.options import BENCH_OPTIONS, MAKES_RUN
from fixtures.common.progress import Progress
from harness.guest.image.rootfs import LOADER, qemu_through_loader
from harness.labs.base import Lab
from harness.labs.choice import NestedChoice
from harness.labs.nested.image import LabImage, current_manifest, images, is_built
from harness.labs.nested.lab import NestedLab, open_nested_lab
from harness.measure.runner import Bench
from harness.qualify.checks.digest import State, differences, digest
from harness.records.history.db import VARIABLE
from harness.runs.claim import new_run
from harness.runs.options import BenchOptions
from suites.selftest.support.postgres_server import PostgresServer, postgres_server, programs
from suites.selftest.support.scheduling import TwoLabs

ROOT_VARIABLE = "NICPROOF_TEST_ROOT"

settings.register_profile("selftest", deadline=None)  # a busy machine fails no test
settings.load_profile("selftest")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MAKES_RUN] = False  # none that is kept
    config.option.loadscopereorder = False  # else files with many tests would come first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a lab come first, for they take longest: no worker is left alone with one at the
    end."""
    items.sort(key=lambda item: item.get_closest_marker("lab") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TwoLabs:
    return TwoLabs(config, log)


@pytest.fixture(scope="session", autouse=True)
def history_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test looks into the user's own history, or adds to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("history") / "history.db"))
        yield


@pytest.fixture(scope="session", autouse=True)
def runs_of_the_tests() -> Iterator[None]:
    """pytest as tests start it does without the plugins of hypothesis and labgrid, whose imports
    take longer than all of the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:labgrid")
        yield


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """A Debian root tree as the lab image holds it: kernel, modules, QEMU, guest programs."""
    named = os.environ.get(ROOT_VARIABLE, "")
    if named:
        root = Path(named)
    elif is_built():
        root = LabImage(images() / current_manifest().key).root
    else:
        pytest.skip(f"no lab image (`make setup` builds it), no tree named by ${ROOT_VARIABLE}")
    assert (root / LOADER).exists(), f"{root} is no root tree of Debian for amd64"
    return root


@pytest.fixture(scope="session")
def qemu_argv(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The argv prefix of a QEMU: the machine's own, else that of the root tree."""
    if shutil.which("qemu-system-x86_64"):
        return ("qemu-system-x86_64",)
    return qemu_through_loader(request.getfixturevalue("debian_root"))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NestedLab]:
    """One nested lab for all tests; none is built for their sake, `make test` has done that."""
    if not is_built():
        pytest.skip("the nested lab's image (make it with: nicproof lab build)")
    with open_nested_lab(run_dir=tmp_path_factory.mktemp("lab"), progress=False) as lab:
        yield lab


@pytest.fixture
def settled(lab: Lab) -> Iterator[State]:
    """The lab's host, of the session or of the file's own lab, is afterwards as it was before, to
    the last fact of its digest."""
    before = digest(lab.host)
    yield before
    assert not differences(before, digest(lab.host))


@pytest.fixture(scope="module")
def bench_options(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> BenchOptions:
    """Results of self-tests go where pytest keeps temporary files; no inventory of the user's is
    made use of."""
    run_dir = tmp_path_factory.mktemp("results") / "run"
    lab = NestedChoice("self-tests run there")
    return replace(pytestconfig.stash[BENCH_OPTIONS], run=new_run(), run_dir=run_dir, lab=lab)


@pytest.fixture(scope="module")
def bench(lab: Lab, bench_options: BenchOptions, progress: Progress) -> Iterator[Bench]:
    """A run of each file's own: another file may have restored what was left on the lab's host."""
    with opened_bench(lab, bench_options, progress) as bench:
        yield bench


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of these tests' own."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server (Debian package postgresql; `make test` installs it)")
    with postgres_server(found) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty history of either kind."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "history.db")
    database: str = request.getfixturevalue("postgres").fresh_database()
    return database
