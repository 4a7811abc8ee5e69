"""A guest's Python: taken out of a root tree, it finds what it needs and nothing but byte code."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.guest.image import cpio, initramfs
from harness.guest.image.micro import MODULES
from harness.guest.image.python import python
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost

LIBRARY = "usr/lib/python3.*/"


@pytest.fixture(scope="module")
def entries(debian_root: Path) -> tuple[cpio.Entry, ...]:
    return tuple(python(debian_root, MODULES))


@pytest.fixture(scope="module")
def unpacked(
    entries: tuple[cpio.Entry, ...], debian_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("guest")
    busybox = str(debian_root / "usr/bin/busybox")
    archive = cpio.pack((*initramfs.skeleton(), *entries))
    unpack = f'cd "$1" && {busybox} cpio -idm 2>/dev/null; test -e "$1/usr/bin/python3"'
    LocalHost().run((busybox, "sh", "-c", unpack, "sh", str(place)), stdin=archive)
    return place


def run(root: Path, code: str) -> CommandResult:
    loader = str(root / "usr/lib64/ld-linux-x86-64.so.2")
    libraries = ("--inhibit-cache", "--library-path", str(root / "usr/lib/x86_64-linux-gnu"))
    python3 = (str(root / "usr/bin/python3"), "-I", "-S", "-c", code)
    argv = ("env", "-i", loader, *libraries, *python3)
    return LocalHost().run(argv, check=False)


def test_it_starts_and_loads_what_it_was_made_for(unpacked: Path) -> None:
    found = run(unpacked, f"import {','.join(MODULES)}, array, fcntl, gc; print(json.dumps([1]))")
    assert (found.text, found.error, found.returncode) == ("[1]\n", "", 0)


def test_it_loads_from_the_tree_it_is_in(unpacked: Path) -> None:
    found = run(unpacked, "import json, sys; print(json.__file__, sys.prefix, json.__doc__)")
    (library,) = unpacked.glob(LIBRARY)
    assert found.text.split() == [f"{library}/json/__init__.pyc", str(unpacked / "usr"), "None"]
    lacking = run(unpacked, "import email")
    assert "No module named 'email'" in lacking.error


def test_it_says_its_version_as_every_host_does(unpacked: Path) -> None:
    assert run(unpacked, "import sys; print(sys.version_info[:2] >= (3, 9))").text == "True\n"


def test_nothing_is_left_in_the_tree_and_no_source_goes_along(
    entries: tuple[cpio.Entry, ...], debian_root: Path
) -> None:
    assert not list(debian_root.glob(f"{LIBRARY}**/*.pyc"))
    names = [entry.path for entry in entries]
    assert not [name for name in names if name.endswith(".py") or "/../" in name]
    assert any(name.endswith("/json/decoder.pyc") for name in names)


def test_the_same_tree_gives_the_same_bytes(
    entries: tuple[cpio.Entry, ...], debian_root: Path
) -> None:
    assert cpio.pack(python(debian_root, MODULES)) == cpio.pack(entries)


def test_a_module_that_is_absent_is_named(debian_root: Path) -> None:
    with pytest.raises(LabError, match=r"(?s)its python3 cannot say.*No module named 'nosuch'"):
        tuple(python(debian_root, ("nosuch",)))
