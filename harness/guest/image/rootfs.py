"""Programs of a Debian root tree, run or taken apart from outside: no chroot, no root needed."""

from __future__ import annotations

from pathlib import Path

LOADER = "usr/lib64/ld-linux-x86-64.so.2"
QEMU = "usr/bin/qemu-system-x86_64"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def through_loader(root: Path, program: str) -> tuple[str, ...]:
    """The argv prefix that runs `program` (a path in `root`) with the tree's own libraries.

    So one pinned version serves every controller, whatever C library that has.
    """
    return (
        str(root / LOADER),
        "--library-path",
        str(root / LIBRARIES),
        str(root / program.lstrip("/")),
    )


def qemu_through_loader(root: Path, binary: Path | None = None) -> tuple[str, ...]:
    """The argv prefix of the tree's QEMU, which is told where the tree keeps its firmware.

    `binary` is another build of it, with the same libraries.
    """
    firmware = ("usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu")
    where = (argument for path in firmware for argument in ("-L", str(root / path)))
    *loader, program = through_loader(root, QEMU)
    return (*loader, str(binary) if binary else program, *where)
