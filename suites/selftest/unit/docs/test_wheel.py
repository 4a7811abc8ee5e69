"""nicproof as others install it: from its source package, as a wheel, into an environment of its
own, away from any checkout."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.labs.nested import qemusource
from harness.labs.nested.image import current_image, is_built
from harness.runs.suite import ROOT

ROOMS = ("harness", "fixtures", "reports", "suites/comparison", "suites/qualification")
"""What is installed, but for what stands in suites itself; the rest proves nicproof."""

BUILD = """\
import os, sys
from hatchling import build
os.chdir(sys.argv[1])
print(getattr(build, "build_" + sys.argv[2])(sys.argv[3]))
"""
"""As a build front end does, PEP 517, with the hatchling that is here: no network."""


def build(source: Path, what: str, into: Path) -> Path:
    into.mkdir(exist_ok=True)
    argv = (sys.executable, "-c", BUILD, str(source), what, str(into))
    return into / LocalHost().run(argv, timeout=120).text.splitlines()[-1]


def sources() -> set[str]:
    """Every file of the checkout that git knows, or would if it was told to."""
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the source is known in a git checkout only")
    argv = ("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in LocalHost().run(argv).text.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source package, unpacked."""
    directory = tmp_path_factory.mktemp("sdist")
    source = directory / "source"
    for name in sources():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name, follow_symlinks=False)
    with tarfile.open(build(source, "sdist", directory / "built")) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the source package, as an installer does that finds nothing else."""
    return build(sdist, "wheel", sdist.parent.parent / "built")


@dataclass(frozen=True)
class Installed:
    """nicproof in a virtual environment that has what it needs, and no checkout."""

    directory: Path

    @property
    def python(self) -> Path:
        return self.directory / "bin/python"

    def nicproof(self, *argv: str, at: Path, timeout: float = 300.0) -> CommandResult:
        """The command's result in the directory `at`; nothing of ours is on any path."""
        clean = ("env", "-u", "PYTHONPATH", "-u", "VIRTUAL_ENV", "-C", str(at))
        line = (*clean, str(self.directory / "bin/nicproof"), *argv)
        return LocalHost().run(line, timeout=timeout, check=False)


def others() -> Sequence[str]:
    """Directories of the packages that nicproof needs. An environment's .pth files are read in its
    own directory only, so an editable checkout of nicproof is not found through them."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("pipx") / "venv"
    venv.create(directory, symlinks=True)
    found = Installed(directory)
    offline = ("--quiet", "--no-index", "--no-deps", "--no-compile")
    pip = (sys.executable, "-m", "pip", "--python", str(found.python), "install", *offline)
    LocalHost().run((*pip, str(wheel)), timeout=120)
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(others()))
    return found


def test_the_source_package_is_complete(sdist: Path) -> None:
    """What git has, it has: tests, data, documentation, and what `make` needs."""
    packed = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if not path.is_dir()}
    own = {name for name in packed if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    assert packed - own == sources()


def test_a_wheel_holds_what_runs_and_no_test_of_nicproof_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    wanted = {name for name in sources() if name.startswith(tuple(f"{room}/" for room in ROOMS))}
    assert {name for name in names if str(Path(name).parent) != "suites"} == wanted
    assert "suites/__init__.py" in names
    assert "licenses/LICENSE" in about


def test_an_empty_directory_is_enough(installed: Installed, tmp_path: Path) -> None:
    listed = installed.nicproof("qualify", "--list", at=tmp_path)
    assert listed.returncode == 0, listed.text + listed.error
    assert listed.text == (ROOT / "docs/cases.md").read_text()
    assert not list(tmp_path.iterdir())


def test_no_room_of_ours_is_hidden_by_one_where_the_user_is(
    installed: Installed, tmp_path: Path
) -> None:
    """A directory `reports` or `fixtures` there, a conftest.py or a pytest.ini are none of ours."""
    for room in ("harness", "fixtures", "suites", "reports"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f"raise ImportError('not ours: {room}')")
    (tmp_path / "conftest.py").write_text("raise ImportError('not ours')")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    asked = ("--lab=nested", "--no-history", "--", "--collect-only")
    collected = installed.nicproof("bench", *asked, at=tmp_path)
    assert collected.returncode == 0, collected.text + collected.error
    assert "suites/comparison/test_paths.py: " in collected.text


def test_profiles_and_patches_are_found(installed: Installed, tmp_path: Path) -> None:
    dump = ROOT / "suites/selftest/data/pci/82576.txt"
    shown = installed.nicproof("nic", "show", "--dump", str(dump), at=tmp_path)
    assert "82576" in shown.text, shown.text + shown.error
    code = (
        "from harness.labs.nested import qemusource as q; print(*(p.is_file() for p in q.PATCHES))"
    )
    found = LocalHost().run((str(installed.python), "-P", "-c", code))
    assert found.text.split() == ["True"] * len(list((ROOT / "docs/upstream").glob("*.patch")))


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_bench_from_an_empty_directory(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a lab of its own, to the report; nothing but the run's directory is left. Cache and
    directory have names with what is special to ssh, to QEMU and to a shell."""
    if not is_built():
        pytest.skip("the nested lab's image (make it with: nicproof lab build)")
    home, here = tmp_path / "a cache, 50%d", tmp_path / "it's empty, 100%"
    (home / "nicproof/images").mkdir(parents=True)
    image = current_image().directory
    (home / "nicproof/images" / image.name).symlink_to(image)
    (home / "nicproof/qemu").symlink_to(qemusource.builds())
    here.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    asked = ("--lab=nested", "--paths=sriov", "--workloads=latency", "--boots=1", "--no-history")
    result = installed.nicproof("bench", *asked, at=here, timeout=500)
    assert result.returncode == 0, result.text + result.error
    assert "boots cold" not in result.text + result.error
    assert os.listdir(here) == ["results"]
    (run_dir,) = (here / "results").iterdir()
    assert (run_dir / "report.html").stat().st_size > 0
