"""Disk images of users, as qemu-img makes them: what cannot be booted is told before a run."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import ConfigError
from harness.guest.image.diskfile import SECTOR, SIGNATURE, look_at
from harness.guest.image.rootfs import through_loader
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.runs.variant import Variant

QemuImg = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def qemu_img(request: pytest.FixtureRequest) -> QemuImg:
    """qemu-img of this machine, else of the lab image's tree."""
    argv: tuple[str, ...] = ("qemu-img",)
    if not shutil.which("qemu-img"):
        argv = through_loader(request.getfixturevalue("debian_root"), "usr/bin/qemu-img")
    return lambda *words: LocalHost().run((*argv, *map(str, words)))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A disk with something to boot, as far as a BIOS asks."""
    path = tmp_path / "disk of mine.img"
    path.write_bytes(bytes(SECTOR - 2) + SIGNATURE + bytes(1 << 20))
    return path


def message_of(image: Path) -> str:
    """What is said of it by the option itself, with the file's name in it."""
    with pytest.raises(ConfigError) as caught:
        Variant(guest_image=str(image)).checked()
    assert f"--guest-image {image}: " in str(caught.value)
    return str(caught.value).partition(f"{image}: ")[2]


def test_disks_that_stand_alone_are_taken(raw: Path, qemu_img: QemuImg, tmp_path: Path) -> None:
    made = [raw]
    for version in ("0.10", "1.1"):
        made.append(tmp_path / f"v{version}.qcow2")
        qemu_img("convert", "-O", "qcow2", "-o", f"compat={version}", raw, made[-1])
    qemu_img("convert", "-c", "-O", "qcow2", raw, tmp_path / "packed.qcow2")
    for image in (*made, tmp_path / "packed.qcow2"):
        look_at(image)
        assert Variant(guest_image=str(image)).checked().guest_image == str(image)


def test_a_part_of_a_disk_is_refused_with_the_way_to_the_whole(
    raw: Path, qemu_img: QemuImg, tmp_path: Path
) -> None:
    part, data = tmp_path / "part.qcow2", tmp_path / "other file"
    qemu_img("create", "-f", "qcow2", "-b", raw, "-F", "raw", part)
    message = message_of(part)
    assert message.startswith(f"it is a part: the rest is in its backing file, {raw}\n")
    assert f"remedy: qemu-img convert -O qcow2 {part} part.whole.qcow2" in message
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={data}", part, "1M")
    assert message_of(part).startswith("it is a part: its data are in another file")


def test_encrypted_disks_are_refused(qemu_img: QemuImg, tmp_path: Path) -> None:
    image, secret = tmp_path / "locked.qcow2", ("--object", "secret,id=s,data=abc")
    luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    qemu_img("create", *secret, "-f", "qcow2", "-o", luks, image, "1M")
    assert message_of(image).startswith("it is encrypted")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("vmdk", "VMDK"),
        ("vpc", "VHD"),
        ("vhdx", "VHDX"),
        ("vdi", "VDI"),
        ("qcow", "qcow2 of version 1"),
    ],
)
def test_disks_of_other_kinds_are_refused_by_name(
    kind: str, name: str, raw: Path, qemu_img: QemuImg, tmp_path: Path
) -> None:
    qemu_img("convert", "-O", kind, raw, tmp_path / "other")
    assert message_of(tmp_path / "other").startswith(f"it is {name}; ")


def test_what_is_no_disk_is_refused(raw: Path, qemu_img: QemuImg, tmp_path: Path) -> None:
    image = tmp_path / "image"
    qemu_img("convert", "-O", "qcow2", raw, tmp_path / "whole.qcow2")
    whole = (tmp_path / "whole.qcow2").read_bytes()
    for content, message in (
        (b"", "it is not qcow2, and as a raw disk it does not boot"),
        (b"FROM debian:13\n" * 100, "it is not qcow2, and as a raw disk it does not boot"),
        (gzip.compress(raw.read_bytes()), "it is packed by gzip\n  remedy: unpack it"),
        (whole[:100], "it is cut short"),
        (whole[:70_000], "it is cut short"),
    ):
        image.write_bytes(content)
        assert message_of(image).startswith(message)
