"""Kernel modules of a Debian root tree: which files a driver needs, and what devices call for it.

Formats: modules.dep(5), modules.builtin and modules.alias as depmod(8) writes them.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from harness.core.errors import LabError

MODULES = "usr/lib/modules"


def module_name(path: str) -> str:
    """The kernel's name of a module from its file or any spelling: "8139too", "virtio_net"."""
    return PurePosixPath(path).name.split(".ko", 1)[0].replace("-", "_")


@dataclass(frozen=True)
class ModuleIndex:
    """What depmod knows of one kernel. Paths are relative to /lib/modules/<release>."""

    paths: dict[str, str] = field(default_factory=dict)  # name -> path
    depends: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name -> names
    builtin: frozenset[str] = frozenset()

    def closure(self, names: Iterable[str]) -> tuple[str, ...]:
        """`names` and what they depend on, dependencies first; what is built in needs no file.

        Raises LabError naming the module that this kernel has neither way.
        """
        ordered: dict[str, None] = {}
        for name in map(module_name, names):
            if name in self.builtin:
                continue
            if name not in self.paths:
                raise LabError(f"this kernel has no module {name}")
            # modules.dep lists every dependency, direct or not, the last to be loaded first.
            for each in (*reversed(self.depends[name]), name):
                ordered[each] = None
        return tuple(ordered)


def parse_index(dep: str, builtin: str) -> ModuleIndex:
    """The index from the text of modules.dep and modules.builtin."""
    paths: dict[str, str] = {}
    depends: dict[str, tuple[str, ...]] = {}
    for line in dep.splitlines():
        path, _, needed = line.partition(":")
        paths[module_name(path)] = path
        depends[module_name(path)] = tuple(map(module_name, needed.split()))
    return ModuleIndex(paths, depends, frozenset(map(module_name, builtin.split())))


def aliases_of(alias: str, names: Iterable[str]) -> str:
    """The lines of modules.alias that lead to `names`, so that modprobe reads little."""
    wanted = frozenset(names)
    lines = (line for line in alias.splitlines() if line.startswith("alias "))
    return "".join(f"{line}\n" for line in lines if module_name(line.split()[2]) in wanted)


@dataclass(frozen=True)
class KernelTree:
    """A kernel in a Debian root tree with its modules."""

    root: Path
    release: str

    @classmethod
    def find(cls, root: Path) -> KernelTree:
        """The tree's kernel, the newest if there are several; LabError if there is none."""
        images = sorted(
            (root / "boot").glob("vmlinuz-*"), key=lambda image: _version_key(image.name)
        )
        for image in reversed(images):
            release = image.name.removeprefix("vmlinuz-")
            if (root / MODULES / release / "modules.dep").exists():
                return cls(root, release)
        raise LabError(f"{root} holds no kernel with modules (boot/vmlinuz-*, {MODULES})")

    @property
    def image(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def directory(self) -> Path:
        return self.root / MODULES / self.release

    def index(self) -> ModuleIndex:
        return parse_index(
            (self.directory / "modules.dep").read_text(),
            (self.directory / "modules.builtin").read_text(),
        )

    def aliases(self, names: Sequence[str]) -> str:
        return aliases_of((self.directory / "modules.alias").read_text(), names)

    def load(self, path: str) -> bytes:
        """A module's file, decompressed.

        The kernel could do that itself (MODULE_DECOMPRESS), but an emulated CPU is slow at it and
        the file would have to be named as compressed in modules.dep.
        """
        file = self.directory / path
        if file.suffix == ".xz":
            return lzma.decompress(file.read_bytes())
        if file.suffix == ".ko":
            return file.read_bytes()
        raise LabError(f"{file}: no way here to unpack a {file.suffix} module")


def _version_key(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key that puts 6.12 after 6.9."""
    digits = "".join(char if char.isdigit() else " " for char in name).split()
    return (*((int(number), "") for number in digits), (0, name))
