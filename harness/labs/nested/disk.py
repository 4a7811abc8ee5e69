"""A root tree as a file system in which every file is root's, made by any user.

mke2fs copies the owners that the tree has, and debugfs then gives each file to root. Both write to
an ordinary file: no mount, no privilege, and no user namespace, which not every system lets users
make (Ubuntu since 24.04).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.core.errors import LabError
from harness.core.units import MIB
from harness.hosts.local import LocalHost
from harness.labs.nested import debian

TOOLS = ("mke2fs", "debugfs")
"""Of e2fsprogs."""


def make_disk(root: Path, disk: Path) -> None:
    """Write the tree to the file `disk`. MissingCapability if one of TOOLS is absent."""
    mke2fs, debugfs = map(debian.found, TOOLS)
    files = tuple(_files(root))
    if not files:
        raise LabError(f"{root} is empty")
    LocalHost().run((mke2fs, *_options(files, root), str(disk), str(_blocks(files))), timeout=300)
    if os.geteuid() != 0:
        orders = "".join(_to_root(file.relative_to(root)) for file in files)
        argv = (debugfs, "-w", "-f", "/dev/stdin", str(disk))
        outputs = LocalHost().run(argv, stdin=orders.encode(), timeout=300).error.splitlines()
        if outputs[1:]:  # the first line is its version; its status is 0 whatever fails
            raise LabError(f"debugfs cannot give {root} to root: {outputs[1]}")


def _options(files: tuple[Path, ...], root: Path) -> tuple[str, ...]:
    """Nothing ever writes to the disk, so there is little slack and no journal."""
    return (
        *("-q", "-t", "ext4", "-b", "4096", "-m", "0", "-N", str(len(files) + 1024)),
        *("-O", "^has_journal,^resize_inode", "-E", "root_owner=0:0", "-L", "nicproof-lab"),
        *("-d", str(root)),
    )


def _files(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            yield Path(directory, name)


def _blocks(files: tuple[Path, ...]) -> int:
    """Of 4 KiB, that hold the files, with some slack."""
    needed = sum(-(-file.lstat().st_size // 4096) for file in files)
    return needed * 21 // 20 + 16 * MIB // 4096


def _to_root(path: Path) -> str:
    """Two requests of debugfs(8), which takes a quote within quotes twice."""
    named = '"/' + str(path).replace('"', '""') + '"'
    return f"set_inode_field {named} uid 0\nset_inode_field {named} gid 0\n"
