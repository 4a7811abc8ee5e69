"""What the cache holds, and which of it the current image still needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.core.xdg import cache_root
from harness.labs.nested import accel, cache, choosing, qemusource, snapshot
from harness.labs.nested.image import LabImage, current_image, images

ACCELERATORS = (accel.TCG, accel.VIRTUAL, accel.SMP, accel.KVM)
"""What labs usually run by: each has a state of its own."""


OTHERS = "more than an image"
"""By what everything else is needed: tracebacks, logs, answers of a probe."""


@dataclass(frozen=True)
class Kept:
    """Something in the cache. `needed` says by what, "" if by nothing that is current."""

    what: str
    path: Path
    needed: str

    @property
    def bytes_(self) -> int:
        """What it takes on the disk: a state is a file with holes."""
        return sum(allocated(path) for path in (self.path, *self.path.rglob("*")))


def kept() -> tuple[Kept, ...]:
    """Everything in the cache, images first."""
    return tuple(_kept(current_image()))


def _kept(image: LabImage) -> Iterator[Kept]:
    yield from _entries("image", images(), {image.directory: "this version of nicproof"})
    states = dict.fromkeys(_states(image), "the image")
    yield from _entries("state of a booted lab", snapshot.snapshots(), states)
    builds = dict.fromkeys(_builds(image), "the image")
    yield from _entries("QEMU from source", qemusource.builds(), builds)
    known = {images().name, snapshot.snapshots().name, qemusource.builds().name}
    for path in sorted(_inside(cache_root())):
        if path.name not in known:
            yield Kept("other", path, OTHERS)


def _entries(what: str, directory: Path, needed: dict[Path, str]) -> Iterator[Kept]:
    """Entries of one kind, and what a builder left behind that was killed."""
    for path in sorted(_inside(directory)):
        if path.is_dir() or path.suffix in (".state", cache.PARTIAL):
            yield Kept(what, path, needed.get(path, "") or used(path))


def _states(image: LabImage) -> Iterator[Path]:
    """Where states of the image are, for each way to run it."""
    if cache.damage(image.directory):
        return
    for each in ACCELERATORS:
        yield snapshot.snapshot_of(choosing.usual(image, each)).path


def _builds(image: LabImage) -> Iterator[Path]:
    with suppress(OSError):
        yield qemusource.program(choosing.source(image).key).parent


def _inside(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from directory.iterdir()


def used(path: Path) -> str:
    """Which process has it among its words, as a lab's QEMU has its image; "" if none has."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(path) in each.read_bytes() and each.parent.name != str(os.getpid()):
                return f"process {each.parent.name}"
    return ""


def allocated(path: Path) -> int:
    """Bytes of the disk that a file or directory takes itself."""
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def unneeded() -> tuple[Kept, ...]:
    """What no current image needs, and nobody uses."""
    return tuple(each for each in kept() if not each.needed)


def remove(each: Kept) -> bool:
    """Remove it unless it is needed by now. The caller holds the lock of its directory."""
    if not each.path.exists() or used(each.path):
        return False
    cache.discard(each.path)
    return True
