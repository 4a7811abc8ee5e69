"""The Python of a Debian root tree, with as much of its library as some modules load.

The library is compiled here, once, and goes without its sources: a guest would compile it in each
boot, which an emulated CPU is slow at.
"""

from __future__ import annotations

import base64
import posixpath
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import msgspec

from harness.core.errors import LabError
from harness.guest.image import cpio
from harness.guest.image.initramfs import programs, resolve
from harness.guest.image.rootfs import through_loader
from harness.hosts.local import LocalHost

PYTHON = "usr/bin/python3"

OPTIONS = ("-B", "-I", "-S", "-X", "utf8")
"""Above all -B: nothing is to be written into the tree."""

EXTENSIONS = "lib-dynload"
"""Of the library: Python looks for this directory when it starts, and complains without it."""


def python(root: Path, modules: Sequence[str]) -> Iterator[cpio.Entry]:
    """python3 at its own path, and what these modules of its library import.

    LabError if the tree has no Python that runs here, or if that lacks one of the modules.
    """
    library = f"usr/lib/{resolve(root, PYTHON).name}"
    yield cpio.directory(f"{library}/{EXTENSIONS}")
    binaries = [PYTHON]
    for name, code in _loaded(root, modules).items():
        path = posixpath.normpath(f"{library}/{name}")
        if code is None:
            binaries.append(path)
        else:
            yield cpio.file(path, base64.b64decode(code))
    yield from programs(root, binaries)


def _loaded(root: Path, modules: Sequence[str]) -> dict[str, str | None]:
    """As compile_agent.py tells it, which the tree's own Python runs."""
    text = resources.files(__package__).joinpath("compile_agent.py").read_text()
    argv = (*through_loader(root, PYTHON), *OPTIONS, "-c", text, *modules)
    result = LocalHost().run(argv, check=False)
    if result.returncode:
        raise LabError(
            f"the root tree {root}: its python3 cannot say what it loads: {result.error}"
        )
    return msgspec.json.decode(result.stdout, type=dict[str, str | None])
