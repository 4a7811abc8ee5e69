"""Archives in cpio's "newc" format, the one that Linux unpacks as its initial root.

Format: Documentation/driver-api/early-userspace/buffer-format.rst in Linux. Everything is pure and
deterministic: times are 0, owners are root, inode numbers follow the sorted names.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

MAGIC = b"070701"
TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One member. `path` is relative to the root; `mode` holds type and permissions."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)  # (major, minor) of a device node

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if str(pure) != self.path or pure.is_absolute() or ".." in pure.parts or not pure.name:
            raise ValueError(f"not a plain relative path: {self.path!r}")
        if "\0" in self.path or self.path == TRAILER:
            raise ValueError(f"no such name in a cpio archive: {self.path!r}")


def directory(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries` with every parent directory, each before what it holds.

    Raises ValueError if two entries of one path differ, or one lies below a non-directory.
    """
    members = _with_parents(entries)
    parts: list[bytes] = []
    for inode, path in enumerate(sorted(members, key=lambda p: PurePosixPath(p).parts), start=1):
        _append(parts, members[path], inode)
    _append(parts, None, 0)
    return b"".join(parts)


def _with_parents(entries: Iterable[Entry]) -> dict[str, Entry]:
    members: dict[str, Entry] = {}
    for entry in entries:
        if members.setdefault(entry.path, entry) != entry:
            raise ValueError(f"two different entries for {entry.path}")
    for path in tuple(members):
        for parent in PurePosixPath(path).parents:
            if parent.name:
                above = members.setdefault(str(parent), directory(str(parent)))
                if not stat.S_ISDIR(above.mode):
                    raise ValueError(f"{path} lies below {parent}, which is no directory")
    return members


def _append(parts: list[bytes], entry: Entry | None, inode: int) -> None:
    """Header, name and data of one member (None: the trailer), each padded to 4 bytes."""
    name = (entry.path if entry else TRAILER).encode() + b"\0"
    data = entry.data if entry else b""
    if entry is None:
        mode, links, major, minor = 0, 1, 0, 0
    else:
        mode, links = entry.mode, 2 if stat.S_ISDIR(entry.mode) else 1
        major, minor = entry.device
    # inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name), 0)
    header = MAGIC + b"".join(b"%08X" % field for field in fields)
    parts += (header, name, _padding(len(header) + len(name)), data, _padding(len(data)))


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)
