"""The cache: what has lost a file heals itself, what nobody needs can go, and one that cannot be
used is told in a line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main as cli
from harness.core.errors import LabError
from harness.doctor.controller import controller
from harness.hosts.local import LocalHost
from harness.labs.nested import cache, image, kept, qemusource, snapshot
from harness.labs.nested.image import LabImage, current_image, images
from harness.labs.nested.lab import NestedLab

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nicproof(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command's status, and what it says on either stream."""

    def run(*argv: str, **env: str) -> tuple[int, str, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        status = cli.main([*argv])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


# Damage


def build(into: Path) -> None:
    (into / "tree").mkdir()
    (into / "tree/file").write_text("whole")
    (into / "tree/link").symlink_to("nowhere")
    (into / "disk").write_bytes(bytes(5000))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file is missing": (lambda entry: (entry / "disk").unlink(), "disk is missing"),
    "a file is cut off": (
        lambda entry: os.truncate(entry / "disk", 4096),
        "disk has 4096 bytes instead of 5000",
    ),
    "a file of the tree is empty": (
        lambda entry: os.truncate(entry / "tree/file", 0),
        "tree/file has 0 bytes instead of 5",
    ),
    "a link is missing": (lambda entry: (entry / "tree/link").unlink(), "tree/link is missing"),
    "the list is torn": (
        lambda entry: os.truncate(entry / cache.CONTENTS, 10),
        "the list of its files, is not readable",
    ),
    "the list is missing": (
        lambda entry: (entry / cache.CONTENTS).unlink(),
        "the list of its files, is not readable",
    ),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_an_entry_that_has_lost_something_is_made_anew_and_that_is_told(
    how: str, tmp_path: Path
) -> None:
    spoil, found = DAMAGES[how]
    entry, messages = tmp_path / "images/0123", list[str]()
    cache.ensure(entry, "the image", build, messages.append)
    assert (cache.damage(entry), messages) == ("", [])
    spoil(entry)
    assert found in cache.damage(entry)
    cache.ensure(entry, "the image", build, messages.append)
    assert cache.damage(entry) == ""
    (line,) = messages
    assert line.startswith("the image is damaged, and made anew: ") and found in line
    assert {path.name for path in entry.parent.iterdir()} == {".lock", "0123"}


def test_what_is_added_later_is_no_damage(tmp_path: Path) -> None:
    entry = tmp_path / "0123"
    cache.ensure(entry, "the image", build, print)
    (entry / "qemu-from-source").write_text("4567")

    def again(_: Path) -> None:
        raise AssertionError("it was built again")

    cache.ensure(entry, "the image", again, print)


def test_a_disk_that_refuses_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    def refused(into: Path) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            (into / "half").touch()
            full.write(b"x")

    with pytest.raises(LabError, match="No space left on device") as error:
        cache.ensure(tmp_path / "0123", "the image", refused, print)
    assert "XDG_CACHE_HOME" in error.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_lab_image_that_is_damaged_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys that everybody may read are closed, since ssh would refuse them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def made(image: LabImage, *_: object) -> None:
        image.keys.directory.mkdir()
        for file in (image.keys.client, image.keys.host, image.disk):
            file.write_text("whole")

    monkeypatch.setattr(image, "_build", made)
    found = image.ensure_image()
    assert image.ensure_image() == found
    assert "anew" not in capsys.readouterr().err
    os.truncate(found.disk, 2)
    found.keys.client.chmod(0o644)
    assert image.ensure_image() == found
    assert (
        "the lab's image is damaged, and made anew: lab.img has 2 bytes" in capsys.readouterr().err
    )
    assert found.disk.read_text() == "whole"
    assert [key.stat().st_mode & 0o777 for key in (found.keys.client, found.keys.host)] == [
        0o600
    ] * 2


# A cache that cannot be used

UNUSABLE = {
    "a file": ("XDG_CACHE_HOME", "{file}", "cannot be written to"),
    "nothing can be made there": ("XDG_CACHE_HOME", "/proc/nicproof", "cannot be written to"),
    "no home": ("HOME", "", "no home directory"),
    "a home that is a file": ("HOME", "/dev/null", "cannot be written to"),
    "a path that ld.so splits": ("XDG_CACHE_HOME", "{file}:x", "there is ':' in that path"),
}


@pytest.mark.parametrize("how", UNUSABLE)
@pytest.mark.parametrize("command", ["lab build", "lab up", "cache prune"])
def test_a_cache_that_cannot_be_used_is_one_error(
    how: str, command: str, tmp_path: Path, nicproof: Command
) -> None:
    name, value, message = UNUSABLE[how]
    (tmp_path / "file").touch()
    env = {
        "XDG_CACHE_HOME": "",
        "TMPDIR": str(tmp_path),
        name: value.format(file=tmp_path / "file"),
    }
    status, text, error = nicproof(*command.split(), **env)
    if command == "cache prune" and "home directory" not in message:
        assert (status, text) == (0, "nothing to remove\n")
        return
    assert status == 2, text + error
    assert message in error
    assert "remedy: set" in error
    assert len(error.splitlines()) == 2, error


def test_doctor_says_that_the_cache_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (found,) = (each for each in controller(LocalHost()) if each.name == "cache")
    assert (found.state, "nested lab" in found.needed) == ("no", True)
    assert "file cannot be written to" in found.detail and "XDG_CACHE_HOME" in found.remedy


# What is kept, and what can go


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the current image, damaged, one of another version, and so on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for directory in (current_image().directory, images() / "0ld", qemusource.builds() / "0ld"):
        directory.mkdir(parents=True)
        (directory / "file").write_bytes(b"x" * (3 << 20))
    (images() / f"4567.1{cache.PARTIAL}").mkdir()
    snapshot.snapshots().mkdir()
    (snapshot.snapshots() / "0ld.state").write_bytes(b"x" * (2 << 20))
    (tmp_path / "nicproof/accelerators.json").write_text("{}")
    return tmp_path / "nicproof"


def test_prune_takes_what_nothing_needs_and_nothing_else(filled: Path, nicproof: Command) -> None:
    _, shown, _ = nicproof("cache")
    assert shown.startswith(f"{filled}: 6 kept, 11 MiB\n")
    assert f"images/{current_image().directory.name}  needed by this version" in shown
    assert shown.count("not needed: nicproof cache prune") == 4
    status, pruned, error = nicproof("cache", "prune")
    assert status == 0, error
    assert pruned.splitlines()[-1] == "8 MiB freed"
    left = {str(path.relative_to(filled)) for path in filled.rglob("*") if path.name != ".lock"}
    current = f"images/{current_image().directory.name}"
    assert left == {"accelerators.json", "images", "qemu", "snapshots", current, f"{current}/file"}
    assert nicproof("cache", "prune") == (0, "nothing to remove\n", "")


def test_what_a_lab_uses_that_is_up_stays(filled: Path, nicproof: Command) -> None:
    with LocalHost().spawn(("tail", "-f", str(images() / "0ld/file"))) as lab:
        assert f"needed by process {lab.pid}" in nicproof("cache")[1]
        nicproof("cache", "prune")
    assert (filled / "images/0ld/file").exists()
    assert not (filled / "qemu/0ld").exists()


@pytest.mark.lab
def test_what_the_current_image_is_started_from_is_needed(lab: NestedLab) -> None:
    needed = {each.path for each in kept.kept() if each.needed}
    assert lab.image.directory in needed
    assert snapshot.snapshots() / f"{lab.snapshot}.state" in needed
