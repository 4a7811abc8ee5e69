"""How often does the gate cry wolf, and does it hear one? Real trials, of equal configurations and
of slowdowns that are known.

Run by `make bench-calibration`. A block boots one path twice, as `a` and as `b`; a comparison of
a slowdown ends where `ab` first tells it. Nothing is asserted about the figures: they go to
blocks.csv, for `python -m suites.benchmarks.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from fixtures.common.lab import opened_bench, opened_lab
from fixtures.common.progress import Progress
from harness.core.errors import HarnessError
from harness.core.metrics import PRIMARY
from harness.measure.plan import PlannedBoot, interleave
from harness.measure.runner import Bench
from harness.pci.device import Device
from harness.records.ratios import values_of
from harness.records.trial import TrialRecord
from harness.runs.asked import MAX_BLOCKS
from harness.runs.options import BenchOptions
from harness.runs.variant import Variant
from suites.benchmarks.calibration import COLUMNS, EQUAL, FILENAME, by_pairs, sides_of
from suites.benchmarks.trials import WORKLOADS, Row, append, measure

COMPARISONS = 10
EQUAL_COMPARISONS = 4
"""Of equal configurations. The 200 that are judged are drawn from the blocks of these."""

DELAY = 0.05
"""What netem adds in `b` to a path's median round trip."""

QUEUED_NS = 10_000
"""netem's delay in `a`. Its queue and timer alone cost a fifth of a round trip: both have them."""


@dataclass(frozen=True)
class Condition:
    """What is slower in `b`."""

    name: str
    path: str
    b: Variant
    delayed: bool = False
    workloads: tuple[str, ...] = WORKLOADS  # those that it slows down


CONDITIONS = (
    Condition(EQUAL, "sriov", Variant()),
    Condition("x-no-mmap=on", "sriov", Variant(vfio="x-no-mmap=on")),
    Condition("netem +5 %", "virtio-vhost", Variant(), delayed=True, workloads=("latency",)),
    Condition("vhost=off", "virtio-vhost", Variant(vhost="off"), workloads=("tcp-tx", "latency")),
)


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_blocks(condition: Condition, bench_options: BenchOptions, progress: Progress) -> None:
    for comparison in range(EQUAL_COMPARISONS if condition.name == EQUAL else COMPARISONS):
        try:
            _compare(condition, comparison, bench_options, progress)
        except HarnessError as error:  # takes what was still to come of this comparison along
            progress.line(f"  comparison {comparison + 1} was cut short: {error.message}")


def _compare(
    condition: Condition, comparison: int, bench_options: BenchOptions, progress: Progress
) -> None:
    """The blocks of one comparison, in a lab of its own."""
    name = condition.name.partition("=")[0].replace(" ", "-")
    options = replace(
        bench_options,
        run_dir=bench_options.run_dir / f"{name}-{comparison}",
        paths=(condition.path,),
        workloads=condition.workloads,
        variants={"a": Variant(), "b": condition.b},
    )
    with opened_lab(options, progress) as lab, opened_bench(lab, options, progress) as bench:
        delay = _delay(bench, condition, progress) if condition.delayed else 0
        rows: list[Row] = []
        for planned in interleave(options.paths, MAX_BLOCKS, comparison, ("a", "b")):
            if condition.name != EQUAL and _ended(rows, planned):
                break
            progress.say(f"{condition.name}: comparison {comparison + 1}, {planned.id}")
            added = delay if planned.variant == "b" else 0
            slowed = _delayed(bench, QUEUED_NS + added) if delay else None
            records = measure(
                bench, planned, progress, workloads=condition.workloads, during=slowed
            )
            new = _rows(condition, comparison, planned, records)
            append(bench_options.run_dir / FILENAME, COLUMNS, new)
            rows += new


def _ended(rows: Sequence[Row], planned: PlannedBoot) -> bool:
    """Does this boot begin a block, and do those before it tell a regression?"""
    frame = pd.DataFrame(rows, columns=COLUMNS)
    begun = (frame["block"] == planned.block).any()
    return not begun and by_pairs(sides_of(frame)) is not None


def _delay(bench: Bench, condition: Condition, progress: Progress) -> int:
    """Nanoseconds that are DELAY of the path's median round trip in `a`, as it is seen once."""
    planned, slowed = PlannedBoot(0, condition.path, 0, "a"), _delayed(bench, QUEUED_NS)
    records = measure(bench, planned, progress, workloads=condition.workloads, during=slowed)
    (latency,) = (each for each in records if each.workload == "latency" and each.valid)
    return round(1000 * DELAY * latency.metrics["rtt_p50"])


@contextmanager
def _delayed(bench: Bench, ns: int) -> Iterator[None]:
    """What a guest's macvtap sends leaves the port under test so much later. (At the partner it
    would not show: the prober's stamps are taken next to the driver, behind any queue.)"""
    port = Device(bench.host, bench.ports.dut).interface
    device = ("dev", port, "root")
    bench.host.run(("tc", "qdisc", "add", *device, "netem", "delay", f"{ns}ns"))
    try:
        yield
    finally:
        bench.host.run(("tc", "qdisc", "del", *device))


def _rows(
    condition: Condition, comparison: int, planned: PlannedBoot, records: list[TrialRecord]
) -> list[Row]:
    """A row a primary figure: COLUMNS."""
    key = (condition.name, comparison, planned.block, planned.variant, planned.path)
    return [
        (*key, record.workload, metric, values[metric])
        for record in records
        if record.valid
        for values in [values_of(record)]
        for metric in PRIMARY
        if metric in values
    ]
