"""Initial root file systems put together from the pieces of a Debian root tree."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.core.errors import LabError
from harness.guest.image import cpio, elf
from harness.guest.image.modules import KernelTree
from harness.guest.image.rootfs import LIBRARIES

MERGED = (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"))
"""Debian's merged /usr: the old directories are symbolic links."""

# Loaded by the C library at run time (pthread_cancel), so that no ELF header names it.
IMPLICIT = ("libgcc_s.so.1",)


def skeleton() -> Iterator[cpio.Entry]:
    """Mount points and the links of the merged /usr."""
    for path in ("dev", "proc", "sys", "run", "tmp", "root", "etc", "usr/bin", "usr/sbin"):
        yield cpio.directory(path)
    for link, target in MERGED:
        yield cpio.symlink(link, target)
    # The kernel opens it for init's three streams, before devtmpfs is mounted.
    yield cpio.character_device("dev/console", 5, 1)


def busybox(root: Path, applets: Sequence[str]) -> Iterator[cpio.Entry]:
    """The static busybox and a link in /bin for each of `applets`."""
    yield cpio.file("usr/bin/busybox", read(root, "usr/bin/busybox"), 0o755)
    for applet in applets:
        yield cpio.symlink(f"usr/bin/{applet}", "busybox")


def programs(root: Path, paths: Iterable[str]) -> Iterator[cpio.Entry]:
    """Programs of the tree at their own paths, with every shared library they need.

    Raises LabError naming the program or library that is absent.
    """
    waiting = [_plain(path) for path in paths]
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        data = read(root, path)
        yield cpio.file(path, data, 0o755)
        if elf.is_elf(data):
            needed = elf.needs(data)
            if needed.interpreter:
                waiting.append(_plain(needed.interpreter))
                waiting += (f"{LIBRARIES}/{name}" for name in IMPLICIT)
            waiting += (f"{LIBRARIES}/{name}" for name in needed.libraries)


def modules(kernel: KernelTree, names: Sequence[str]) -> Iterator[cpio.Entry]:
    """Modules with their dependencies, decompressed, and what modprobe must know of them.

    Names may be spelled with - or _; what the kernel has built in is left out.
    """
    index = kernel.index()
    closure = index.closure(names)
    base = f"usr/lib/modules/{kernel.release}"
    lines = []
    for name in closure:
        needed = " ".join(f"{each}.ko" for each in index.depends[name])
        lines.append(f"{name}.ko: {needed}".rstrip() + "\n")
        yield cpio.file(f"{base}/{name}.ko", kernel.load(index.paths[name]))
    yield cpio.file(f"{base}/modules.dep", "".join(lines).encode())
    yield cpio.file(f"{base}/modules.alias", kernel.aliases(closure).encode())


def read(root: Path, path: str) -> bytes:
    """A file of the tree, its symbolic links followed inside the tree."""
    try:
        return resolve(root, path).read_bytes()
    except OSError as error:
        raise LabError(f"the root tree {root} has no {path}: {error.strerror}") from error


def resolve(root: Path, path: str) -> Path:
    """Where `path` really lies; an absolute link means the tree's root, not this machine's."""
    at = root
    parts = list(reversed(path.strip("/").split("/")))
    for _ in range(1000):
        if not parts:
            return at
        step = parts.pop()
        if step == "..":
            at = at if at == root else at.parent
        elif (at / step).is_symlink():
            target = os.readlink(at / step)
            at = root if target.startswith("/") else at
            parts += reversed([part for part in target.split("/") if part not in ("", ".")])
        else:
            at = at / step
    raise LabError(f"{root}: too many symbolic links in {path}")


def _plain(path: str) -> str:
    """`path` without a leading slash and through the links of the merged /usr."""
    first, _, rest = path.strip("/").partition("/")
    return f"{dict(MERGED).get(first, first)}/{rest}"
