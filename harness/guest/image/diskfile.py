"""A disk image of the user's, looked at before a run: what must be so for QEMU to boot it.

It is read as far as its headers go, so that what can be known here is not found out by a guest
that never answers. (docs/interop/qcow2.txt in QEMU's sources; the BIOS boot signature: UEFI
specification, 5.2.1.)
"""

from __future__ import annotations

import shlex
import struct
from pathlib import Path
from typing import BinaryIO

from harness.core.errors import ConfigError
from harness.guest.image.micro import QCOW2_MAGIC

HEADER = struct.Struct(">4sIQIIQIIQ")
"""Of qcow2: magic, version, backing file's offset and size, cluster bits, size of the disk, method
of encryption, entries and offset of its first table. Version 3 goes on."""

FEATURES = struct.Struct(">Q")
"""Of version 3, at FEATURES_AT: what a reader has to know of."""

FEATURES_AT = 72
CORRUPT, EXTERNAL_DATA = 1 << 1, 1 << 2

OTHERS = (
    (0, b"KDMV", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"QED\0", "QED"),
)
"""Disks that qemu-img(1) converts: where each has its magic, and which."""

PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
)

SECTOR, SIGNATURE = 512, b"\x55\xaa"

CUT = "it is cut short"


def look_at(image: Path) -> None:
    """ConfigError, with what can be done about it, unless the file can be a guest's disk: qcow2
    that stands alone and is whole, or a raw one with something to boot."""
    try:
        with image.open("rb") as file:
            why, remedy = _fault(file, image)
    except OSError as error:
        why, remedy = error.strerror or str(error), ""
    if why:
        raise ConfigError(f"--guest-image {image}: {why}", remedy=remedy)


def _fault(file: BinaryIO, image: Path) -> tuple[str, str]:
    """What is wrong, and the remedy; nothing if all is well."""
    first = file.read(SECTOR)
    if first.startswith(QCOW2_MAGIC):
        return _qcow2_fault(file, first, image)
    for at, magic, name in OTHERS:
        if first[at:].startswith(magic):
            return f"it is {name}; qcow2 and raw are taken", _converted(image)
    for magic, name in PACKED:
        if first.startswith(magic):
            return f"it is packed by {name}", "unpack it"
    if len(first) < SECTOR or not first.endswith(SIGNATURE):
        return (
            "it is not qcow2, and as a raw disk it does not boot: its first sector does not end "
            "in 55 aa",
            "",
        )
    return "", ""


def _qcow2_fault(file: BinaryIO, first: bytes, image: Path) -> tuple[str, str]:
    length = file.seek(0, 2)
    if len(first) < SECTOR:
        return CUT, ""
    _, version, name_at, name_size, _, size, crypt, entries, table = HEADER.unpack_from(first)
    if version not in (2, 3):
        return f"it is qcow2 of version {version}; 2 and 3 are taken", _converted(image)
    (features,) = FEATURES.unpack_from(first, FEATURES_AT) if version == 3 else (0,)
    if name_at:
        file.seek(name_at)
        backing = file.read(min(name_size, 1023)).decode(errors="replace")
        return f"it is a part: the rest is in its backing file, {backing}", _converted(image)
    if features & EXTERNAL_DATA:
        return "it is a part: its data are in another file", _converted(image)
    if features & CORRUPT:
        return "it is marked as corrupt", shlex.join(("qemu-img", "check", "-r", "all", str(image)))
    if crypt:
        return "it is encrypted, and nobody is there to give the key", _converted(image)
    if size < SECTOR:
        return f"its disk has {size} bytes", ""
    if length < table + 8 * entries:
        return CUT, ""
    return "", ""


def _converted(image: Path) -> str:
    return shlex.join(
        ("qemu-img", "convert", "-O", "qcow2", str(image), f"{image.stem}.whole.qcow2")
    )
