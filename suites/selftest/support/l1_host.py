"""L1 of the nested lab as somebody's ordinary host, and nicproof as its user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.labs.nested.lab import NestedLab
from harness.runs.suite import ROOT
from suites.lab_toml import host_table

NICPROOF = (sys.executable, "-m", "harness.cli")


def inventory(
    lab: NestedLab, directory: Path, may: str = '"bind", "sriov"', more: str = 'cpus = "0"'
) -> Path:
    """A lab.toml that names L1 as l1."""
    path = directory / "lab.toml"
    path.write_text(host_table(lab, "l1", may=may, more=more))
    return path


def nicproof(*argv: str) -> CommandResult:
    host = LocalHost(env={"PYTHONPATH": str(ROOT)})
    return host.run((*NICPROOF, *argv), timeout=550, check=False)


def kill_run(process: subprocess.Popen[bytes]) -> None:
    """Kill the run that a command waits for; the command alone would have it put back."""
    (run,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(run), signal.SIGKILL)
