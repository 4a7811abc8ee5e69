"""Where the time of a packet goes: guest, its exits, its halting, vhost, QEMU's others, the rest.

By the virtual clock of a lab with one CPU these add up to the whole window, an instruction a
nanosecond. Elsewhere the rest is not known, since other CPUs work at the same time: guest, exits
and halting are one CPU's, vhost and QEMU have others.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.core.errors import ConfigError
from harness.records.run import Run, load
from harness.records.trial import IDLE
from harness.stats import estimates
from reports.run import frames, style, tables

REST = "rest_time_per_packet"
PARTS = {
    "guest_time_per_packet": "guest",
    "exit_time_per_packet": "exits",
    "exit_price_per_packet": "price of exits",
    "halt_time_per_packet": "halting",
    "vhost_time_per_packet": "vhost",
    "qemu_time_per_packet": "QEMU",
    REST: "rest",
}
"""Metric -> what it is, in the order of a bar from left to right."""

MEANS = (
    "Guest: in no exit. Exits: KVM, and QEMU on the vCPU's thread, but where that halts. Price of "
    "exits: what --exit-cost lets each take longer, if it does. Halting: "
    "KVM's polling for the next interrupt, going to sleep, and back. QEMU: its other threads. "
    "Rest: the link partner's end, the host's own work, idleness."
)


def show(run_dir: Path, path: str) -> None:
    """Print a path's parts, and its exits by reason, per packet on the wire, for a terminal.

    ConfigError if the run has no figures of that path.
    """
    run = load(run_dir)
    found = tables.estimates(frames.per_boot(frames.measurements(run)))
    workloads = [w for w in run.workloads if w != IDLE and _parts(found, path, w)]
    if not workloads:
        there = ", ".join(p for p in run.paths if any(_parts(found, p, w) for w in run.workloads))
        raise ConfigError(
            f"--explain {path}: the run has no such figures of this path",
            remedy=f"choose from {there}" if there else "no path with a guest has a valid trial",
        )
    unit = style.unit(run.unit("guest_time_per_packet"))
    title = f"{path}: where the time of a packet goes, {unit}"
    table = Table(
        title=title, title_justify="left", caption=MEANS, caption_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("", no_wrap=True)
    for workload in workloads:
        table.add_column(workload, justify="right", no_wrap=True)
    columns = [_parts(found, path, workload) for workload in workloads]
    for metric, name in PARTS.items():
        if any(metric in parts for parts in columns):
            table.add_row(name, *(_part(parts, metric) for parts in columns))
    table.add_section()
    exits = frames.exits_per_boot(frames.exits(run))
    for reason, cells in _reasons(exits[exits["path"] == path], workloads):
        table.add_row(f"{reason} exits", *cells)
    Console(highlight=False).print(table, "Exits by reason: their number per packet.")


def parts(run: Run, found: tables.Estimates) -> dict[str, dict[str, dict[str, float]]]:
    """Of every path and workload that has them: path -> workload -> metric."""
    every = {
        path: {
            workload: there
            for workload in run.workloads
            if workload != IDLE and (there := _parts(found, path, workload))
        }
        for path in run.paths
    }
    return {path: loads for path, loads in every.items() if loads}


def _parts(found: tables.Estimates, path: str, workload: str) -> dict[str, float]:
    """The parts that were measured, by metric."""
    keys = {metric: (path, workload, metric) for metric in PARTS}
    parts = {metric: found[key].value for metric, key in keys.items() if key in found}
    return parts if "guest_time_per_packet" in parts else {}


def _part(parts: dict[str, float], metric: str) -> str:
    if metric not in parts:
        return ""
    share = 100 * parts[metric] / (sum(parts.values()) or 1)
    return f"{style.number(parts[metric])} {share:2.0f}%"


def _reasons(exits: pd.DataFrame, workloads: list[str]) -> list[tuple[str, list[str]]]:
    """A row a reason, the most frequent first."""
    totals = exits.groupby("reason")["per_packet"].sum().sort_values(ascending=False)
    rows = []
    for reason in (str(r) for r in totals[totals > 0].index):
        cells = []
        for workload in workloads:
            here = exits[(exits["reason"] == reason) & (exits["workload"] == workload)]
            values = [float(value) for value in here["per_packet"]]
            cells.append(style.number(estimates.hodges_lehmann(values)) if values else "")
        rows.append((reason, cells))
    return rows
