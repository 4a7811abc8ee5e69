"""The lab's disk, made by a user who is not root and cannot make user namespaces."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.core.errors import LabError, MissingCapability
from harness.hosts.local import LocalHost
from harness.labs.nested import debian, disk, image, qemusource
from harness.labs.nested.progress import shown

NAMES = ("plain", "a b, 50%", 'a "quoted" one', "it's", "back\\slash", "$HOME", "ümlaut")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root tree that is an ordinary user's, on a system on which nobody can unshare."""
    root = tmp_path / "root"
    for name in NAMES:
        (root / "etc" / name).mkdir(parents=True)
        (root / "etc" / name / "file").write_text(name)
    (root / "etc/suid").touch()
    (root / "etc/suid").chmod(0o4755)
    (root / "etc/link").symlink_to("nowhere")
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            mode = path.lstat().st_mode
            os.chown(path, 1234, 1234, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(mode & 0o7777)  # which chown(2) takes setuid from
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
    refused = tmp_path / "bin/unshare"
    refused.parent.mkdir()
    message = "unshare: unshare failed: Operation not permitted"
    refused.write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 1\n")
    refused.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refused.parent}:{os.environ['PATH']}")
    return root


def stat(of: Path, path: str) -> str:
    quoted = path.replace('"', '""')
    return LocalHost().run((debian.found("debugfs"), "-R", f'stat "{quoted}"', str(of))).text


def test_every_file_is_roots_whatever_it_is_called(tree: Path, tmp_path: Path) -> None:
    made = tmp_path / "a b, 50%.img"
    disk.make_disk(tree, made)
    inside = ("/" + str(path.relative_to(tree)) for path in tree.rglob("*"))
    for path in ("/", "/lost+found", *inside):
        owners = re.search(r"User:\s+(\d+)\s+Group:\s+(\d+)", stat(made, path))
        assert owners and owners.groups() == ("0", "0"), path
    assert "Mode:  04755" in stat(made, "/etc/suid")
    fsck = LocalHost().run((debian.found("e2fsck"), "-fn", str(made)), check=False)
    assert fsck.returncode == 0, fsck.text


def test_a_file_that_cannot_be_given_to_root_is_told(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """debugfs ends well whatever fails."""
    monkeypatch.setattr(disk, "_to_root", lambda path: f'set_inode_field "/not/{path}" uid 0\n')
    with pytest.raises(LabError, match=r"debugfs cannot give .* to root: .*not found"):
        disk.make_disk(tree, tmp_path / "img")


@pytest.mark.parametrize("tool", image.TOOLS)
def test_what_the_image_needs_is_missed_before_anything_is_downloaded(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    there = debian.found

    def found(asked: str) -> str:
        if asked == tool:
            raise MissingCapability(asked, "it is not installed", remedy=debian.REMEDY)
        return there(asked)

    def downloaded(*_: object) -> str:
        raise AssertionError("it was downloaded")

    monkeypatch.setattr(debian, "found", found)
    monkeypatch.setattr(debian, "make_root", downloaded)
    with pytest.raises(MissingCapability, match=f"{tool}: it is not installed"):
        image.ensure_image(progress=False)


@pytest.mark.usefixtures("tree")
def test_a_build_of_qemu_that_cannot_be_entered_is_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloaded(*_: object) -> None:
        raise AssertionError("it was downloaded")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "bootstrap", downloaded)
    source = qemusource.Source("trixie", debian.MIRROR, "1:10.0.13+ds-0+deb13u1")
    with shown(qemusource.SHARES, False) as steps, pytest.raises(LabError) as message:
        qemusource.ensure_build(source, steps)
    assert "Operation not permitted" in message.value.message
    assert "unprivileged_userns" in message.value.remedy
