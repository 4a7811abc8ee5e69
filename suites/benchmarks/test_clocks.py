"""Do figures repeat? The comparison in ten labs, by each clock, on a quiet and on a busy machine.

Run by `make bench-clocks`. Each launch starts a lab, boots every path once, in an order of its own,
and makes one trial of each workload after a warm-up. It asserts nothing about the figures: they
go to launches.csv, and `python -m suites.benchmarks.clocks` makes the table and the figure of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from fixtures.common.lab import opened_bench, opened_lab
from fixtures.common.progress import Progress
from harness.core.errors import HarnessError
from harness.core.units import Clock
from harness.hosts.local import LocalHost
from harness.labs.shape import LabShape
from harness.measure.plan import interleave
from harness.records.ratios import values_of
from harness.records.store import RunStore, open_run
from harness.runs.options import BenchOptions
from suites.benchmarks.clocks import COLUMNS, FILENAME, PRIMARY
from suites.benchmarks.trials import WORKLOADS, Row, append, measure

LAUNCHES = 10
SPIN = "while True: pass"


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("busy", [0, 2], ids=["quiet", "busy"])
@pytest.mark.parametrize("clock", ["virtual-smp", "virtual", "wall"])
def test_launches(clock: Clock, busy: int, bench_options: BenchOptions, progress: Progress) -> None:
    for launch in range(LAUNCHES):
        run_dir = bench_options.run_dir / f"{clock}-{busy}-{launch}"
        options = replace(
            bench_options, shape=LabShape(clock), run_dir=run_dir, workloads=WORKLOADS
        )
        try:
            make(options, busy, launch, progress)
        except HarnessError as error:
            progress.line(f"  launch {launch + 1} was lost: {error.message}")
        with open_run(run_dir) as records:
            rows = list(primary(records, clock, busy, launch))
        append(bench_options.run_dir / FILENAME, COLUMNS, rows)


def make(options: BenchOptions, busy: int, launch: int, progress: Progress) -> None:
    """One launch, from the lab's start to its end."""
    with (
        spinning(busy),
        opened_lab(options, progress) as lab,
        opened_bench(lab, options, progress) as bench,
    ):
        for planned in interleave(options.paths, 1, launch):
            progress.say(f"{options.shape.clock}, {busy} busy: launch {launch + 1}, {planned.path}")
            measure(bench, planned, progress)


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that each keep a CPU busy."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(LocalHost().spawn((sys.executable, "-c", SPIN)))
        yield


def primary(records: RunStore, clock: Clock, busy: int, launch: int) -> Iterator[Row]:
    """A row each: COLUMNS. An invalid trial has none."""
    for record in records.trials():
        if record.valid and not record.warmup:
            values = values_of(record)
            for metric in PRIMARY:
                if metric in values:
                    key = (clock, busy, launch, record.path, record.workload, metric)
                    yield (*key, values[metric])
