"""What benchmarks over many boots share: the trials of one boot, and a table that grows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from fixtures.common.progress import Progress
from harness.core.errors import LabError, RunOver
from harness.measure.plan import PlannedBoot
from harness.measure.runner import Bench, boot_path
from harness.records.trial import TrialRecord
from harness.workloads import fitted

WORKLOADS = ("tcp-tx", "tcp-rx", "latency")
Row = tuple[object, ...]


def measure(
    bench: Bench,
    planned: PlannedBoot,
    progress: Progress,
    *,
    workloads: Sequence[str] = WORKLOADS,
    during: AbstractContextManager[None] | None = None,
) -> list[TrialRecord]:
    """One boot: a trial of each workload, after a warm-up, valid or not; all of it within `during`.

    A guest that is lost takes only its own figures along; RunOver if the lab is lost.
    """
    records: list[TrialRecord] = []
    try:
        fit = partial(fitted, clock=bench.info.clock, fidelity=bench.info.fidelity)
        with boot_path(bench, planned) as place, during or nullcontext():
            place.trial(fit(WORKLOADS[0]), warmup=True)
            for name in workloads:
                records.append(place.trial(fit(name)))
                progress.trial(records[-1])
    except RunOver:
        raise
    except LabError as error:
        progress.line(f"  {planned.id}: {error.message}")
    return records


def append(file: Path, columns: Row, rows: Sequence[Row]) -> None:
    """Add rows to a CSV file, which has its columns at the head."""
    new = not file.exists()
    with file.open("a", newline="") as out:
        csv.writer(out).writerows([*([columns] if new else []), *rows])
