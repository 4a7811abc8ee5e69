"""What a team's page takes: `python -m suites.benchmarks.site [HISTORY]` makes up a history of
10,000 runs of 20 NICs and of 400 qualifications, has `nicproof history site` make its pages, twice,
and prints a table.

The aim: under 10 s, on a machine with nothing else to do.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from harness.records.history.runs import open_history
from harness.records.run import Run
from harness.records.trial import RunInfo, TrialRecord
from suites.benchmarks.reports import Cost
from suites.selftest.support.qualified import qualified
from suites.selftest.support.synthetic_run import make_run

NICS, RUNS, QUALIFICATIONS = 20, 500, 20
"""NICs, each in a host of its own; runs of each, and qualifications."""

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_KINDS = 10
"""Runs that are made up; the others are these, faster or slower."""


def fill(where: Path) -> None:
    """Make the history. Nothing has to survive a crash here, so nothing waits for the disk."""
    random = np.random.default_rng(1)
    with open_history(str(where)) as history:
        history._db.exec_driver_sql("PRAGMA synchronous = OFF")
        history._db.rollback()
        made = [
            make_run(
                2, paths=("virtio", "virtio-vhost", "sriov"), seed=seed, trials=1,
                workloads=("tcp-tx", "tcp-rx", "latency"),
            )
            for seed in range(_KINDS)
        ]  # fmt: skip
        for number in range(NICS):
            for run in _runs(random, number, made):
                history.add(run.info, run.trials, "main", where.parent / run.info.run)
            for day in range(QUALIFICATIONS):
                when = (_BEGAN + timedelta(days=day)).isoformat()
                changes = {"host": f"host{number}", "run": f"q{number}-{day}", "created": when}
                subject, cases = qualified(1, {"resets.vf-flr": "fail"} if day % 5 == 4 else {})
                history.qualifications.add(
                    replace(subject, **changes), [replace(c, host=f"host{number}") for c in cases]
                )


def _runs(
    random: np.random.Generator, number: int, made: list[tuple[RunInfo, tuple[TrialRecord, ...]]]
) -> Iterator[Run]:
    """Two a day; every so often the level changes."""
    level = 1.0
    for day in range(RUNS):
        if random.random() < 0.01:
            level *= float(random.choice([0.9, 0.95, 1.06, 1.12]))
        info, trials = made[day % _KINDS]
        created = (_BEGAN + timedelta(hours=12 * day)).isoformat()
        ours = {"run": f"n{number}-{day}", "host": f"host{number}"}
        factor = level * float(random.lognormal(0, 0.01))
        yield Run(
            replace(info, created=created, finished=True, **ours),
            tuple(
                replace(t, **ours, metrics={k: v * factor for k, v in t.metrics.items()})
                for t in trials
            ),
        )


def built(where: Path, site: Path) -> Cost:
    """Make the site in a process of its own, as the imports are part of it. SystemExit if it
    fails."""
    words = ("history", "site", str(site), f"--history={where}")
    argv = [sys.executable, "-m", "harness.cli", *words]
    began = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"it ended with status {os.waitstatus_to_exitcode(status)}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began, cpu, usage.ru_maxrss * 1024)  # Linux counts KiB


def main() -> None:
    """Print a row a time; a history that is named is filled if it is not there, and kept."""
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(sys.argv[1] if sys.argv[1:] else f"{scratch}/history.db").absolute()
        if not where.exists():
            fill(where)
        table = [
            "| site | pages | MB | seconds | CPU seconds | peak MB |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for name in ("new", "again"):
            cost = built(where, Path(scratch) / "site")
            pages = [path for path in (Path(scratch) / "site").rglob("*") if path.is_file()]
            size = sum(page.stat().st_size for page in pages) / 1e6
            figures = f"{cost.seconds:.1f} | {cost.cpu:.1f} | {cost.peak / 1e6:,.0f}"
            table.append(f"| {name} | {len(pages):,} | {size:.0f} | {figures} |")
    print("\n".join(table))


if __name__ == "__main__":
    main()
