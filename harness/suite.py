"""Starting a suite or the reports, for the commands that are thin doors to them.

The harness imports neither pytest nor a plot library: it becomes them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent


def run_suite(name: str, run_dir: Path, arguments: Sequence[str]) -> NoReturn:
    """Become pytest on suites/`name`, with a line a result; junit.xml goes to `run_dir`."""
    options = [f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}"]
    shown = ["--progress", "--capture=no", "--quiet"]
    # pytest's summary would tell each error again, whole where $CI is set.
    shown += ["-rN", f"--junit-xml={run_dir / 'junit.xml'}"]
    become("pytest", [*options, str(ROOT / "suites" / name), *shown, *arguments])


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Become `python -m module`."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
