"""What self-tests need from the machine they run on; a test is skipped where it is absent."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from harness.guest.rootfs import LOADER, qemu_through_loader
from harness.lab.image import LabImage, current_manifest, images, is_built

ROOT_VARIABLE = "NICPROOF_TEST_ROOT"


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """A Debian root tree as the lab image holds it: kernel, modules, QEMU, guest programs."""
    named = os.environ.get(ROOT_VARIABLE, "")
    if named:
        root = Path(named)
    elif is_built():
        root = LabImage(images() / current_manifest().key).root
    else:
        pytest.skip(f"no lab image (`make setup` builds it), no tree named by ${ROOT_VARIABLE}")
    assert (root / LOADER).exists(), f"{root} is no root tree of Debian for amd64"
    return root


@pytest.fixture(scope="session")
def qemu_argv(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The argv prefix of a QEMU: the machine's own, else that of the root tree."""
    if shutil.which("qemu-system-x86_64"):
        return ("qemu-system-x86_64",)
    return qemu_through_loader(request.getfixturevalue("debian_root"))
