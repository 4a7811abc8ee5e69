"""Starting one of the suites, for the commands that are thin doors to them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent


def run_suite(name: str, run_dir: Path, arguments: Sequence[str]) -> NoReturn:
    """Become pytest on suites/`name`, with a line a result; junit.xml goes to `run_dir`.

    The harness does not import pytest: it starts it.
    """
    argv = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}"]
    shown = ["--progress", "--capture=no", "--quiet"]
    # pytest's summary would tell each error again, whole where $CI is set.
    shown += ["-rN", f"--junit-xml={run_dir / 'junit.xml'}"]
    sys.stdout.flush()
    os.execv(sys.executable, [*argv, str(ROOT / "suites" / name), *shown, *arguments])
