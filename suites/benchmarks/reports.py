"""What a report of a large run takes: `python -m suites.benchmarks.reports` makes up two runs, one
of many rows and one of many boots, renders each as `nicproof report` does, and prints a table.

The aim: a report of a million rows in under 10 s and 1 GB, on a machine with nothing else to do.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.records import store
from suites.selftest.support.synthetic_run import make_run


@dataclass(frozen=True)
class Shape:
    """A run of six paths and six workloads."""

    name: str
    boots: int
    trials: int  # of each workload in each boot, beside the warm-up


SHAPES = (Shape("many rows", boots=6, trials=335), Shape("many boots", boots=100, trials=2))


@dataclass(frozen=True)
class Cost:
    """What rendering took."""

    seconds: float  # of the world's time: other programs count
    cpu: float  # seconds of CPU time, in this program and the kernel
    peak: int  # bytes of memory


def write(shape: Shape, directory: Path) -> None:
    """A store as a run would leave it. Nothing has to survive a crash here, so nothing waits for
    the disk."""
    info, records = make_run(shape.boots, trials=shape.trials)
    with store.create(directory) as new:
        new._db.execute("PRAGMA synchronous = OFF")
        new.save_info(info)
        for record in records:
            new.append(record)


def rendered(directory: Path) -> Cost:
    """Render in a process of its own, as the imports are part of it. SystemExit if it fails."""
    argv = [sys.executable, "-m", "reports", str(directory)]
    began = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"the report ended with status {os.waitstatus_to_exitcode(status)}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began, cpu, usage.ru_maxrss * 1024)  # Linux counts KiB


def rows_of(directory: Path) -> int:
    """Rows of measurements.csv, its head apart."""
    with (directory / "measurements.csv").open("rb") as file:
        return sum(1 for _ in file) - 1


def main() -> None:
    """Print a row a shape."""
    table = [
        "| run | boots | rows | seconds | CPU seconds | peak MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "run"
            write(shape, directory)
            cost = rendered(directory)
            figures = f"{cost.seconds:.1f} | {cost.cpu:.1f} | {cost.peak / 1e6:,.0f}"
            rows = f"{rows_of(directory):,}"
            table.append(f"| {shape.name} | {shape.boots} | {rows} | {figures} |")
    print("\n".join(table))


if __name__ == "__main__":
    main()
