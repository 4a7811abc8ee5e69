"""The programs of the lab image, run on the controller: one pinned QEMU everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import LabError
from harness.guest.image.modules import KernelTree
from harness.guest.image.rootfs import qemu_through_loader, through_loader
from harness.hosts.local import LocalHost

VERSION = re.compile(r"QEMU emulator version (\d+\.\d+\.\d+)")


@dataclass(frozen=True)
class Toolchain:
    """What the Debian root tree at `root` offers to the controller. Nothing of the controller's
    own QEMU is used, firmware included. `fixed_qemu` is the copy of its QEMU that svmfix made."""

    root: Path
    fixed_qemu: Path | None = None

    def program(self, path: str) -> tuple[str, ...]:
        """argv prefix of any program of the tree, such as "usr/bin/qemu-img"."""
        return through_loader(self.root, path)

    @property
    def qemu(self) -> tuple[str, ...]:
        """argv prefix of qemu-system-x86_64, the fixed one if there is one."""
        return qemu_through_loader(self.root, self.fixed_qemu)

    @property
    def kernel(self) -> Path:
        return KernelTree.find(self.root).image

    def qemu_version(self) -> str:
        """For example "10.0.13"; LabError if that QEMU does not start here."""
        return parse_version(LocalHost().run((*self.qemu, "--version")).text)


def parse_version(text: str) -> str:
    """The version in the output of `qemu-system-x86_64 --version`."""
    found = VERSION.search(text)
    if found is None:
        raise LabError(f"QEMU does not tell its version: {text.strip()[:200]!r}")
    return found[1]
