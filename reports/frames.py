"""Records to tables: one row a number. Every ratio of the report is made here, from integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd

from harness.errors import ConfigError
from harness.measure.record import IDLE, ExitCount, RunInfo, TrialRecord
from harness.store import open_run
from harness.units import (
    IDLE_REASONS,
    METRICS,
    MIB,
    MMIO_REASONS,
    NS_PER_S,
    Grounds,
    Metric,
)

MEASUREMENT_COLUMNS = (
    "run", "fidelity", "host", "nic", "path", "workload", "metric", "unit", "better", "boot",
    "trial", "warmup", "valid", "reason", "value", "variant",
)  # fmt: skip
EXIT_COLUMNS = (
    "run", "path", "workload", "boot", "trial", "reason", "count", "time_ns", "window_ns",
    "packets", "variant", "cpu_ns", "vcpus_ns",
)  # fmt: skip

_IRQS = {
    "irqs_per_packet": "irq.device",
    "timer_irqs_per_packet": "irq.timer",
    "ipis_per_packet": "irq.ipi",
}
"""Metric -> counter."""

_BITS_PER_GBIT = 8 / 1e9  # Gbit in a byte
_NS_PER_US = 1000


@dataclass(frozen=True)
class Run:
    """A run as it was stored."""

    info: RunInfo
    trials: tuple[TrialRecord, ...]

    @property
    def counted(self) -> tuple[TrialRecord, ...]:
        """The trials that figures are made from: valid, and no warm-up."""
        return tuple(t for t in self.trials if t.valid and not t.warmup)

    def grounds(self, metric: str) -> Grounds:
        """How far this run's figures of a metric may be relied upon."""
        return metric_of(metric).grounds(self.info.fidelity, self.info.clock)

    def unit(self, metric: str) -> str:
        """A metric's unit by the clock of this run."""
        return metric_of(metric).unit_by(self.info.clock)

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths asked for, in that order, then any other that has trials."""
        return _union(self.info.paths, (t.path for t in self.trials))

    @property
    def workloads(self) -> tuple[str, ...]:
        """Workloads asked for, in that order, then any other that has trials; idle last."""
        names = _union(self.info.workloads, (t.workload for t in self.trials))
        return tuple(sorted(names, key=lambda name: name == IDLE))


def load(directory: Path) -> Run:
    """Read a run. ConfigError if it holds nothing, or trials that must not be compared."""
    with open_run(directory) as store:
        return checked(Run(store.info(), store.trials()), str(directory))


def checked(run: Run, place: str) -> Run:
    """The run. ConfigError, with its place, if it holds nothing, or what must not be compared."""
    if not (run.trials or run.info.missing or run.info.failures):
        raise ConfigError(f"{place}: no trial was finished in this run")
    kinds = {(t.fidelity, t.clock) for t in run.trials} | {(run.info.fidelity, run.info.clock)}
    if len(kinds) > 1:
        found = ", ".join(sorted(f"{fidelity} ({clock} clock)" for fidelity, clock in kinds))
        raise ConfigError(f"{place}: trials of different fidelity in one run: {found}")
    return run


def of_variant(run: Run, name: str) -> Run:
    """The half of a run of two configurations that belongs to one of them."""
    options = {**run.info.options, **run.info.variants[name]}
    info = msgspec.structs.replace(run.info, options=options, variants={})
    return Run(info, tuple(trial for trial in run.trials if trial.variant == name))


def metric_of(name: str) -> Metric:
    """What a metric means; one this version does not know is shown as it is."""
    return METRICS.get(name) or Metric(name, name, "", "none", frozenset())


def packets_of(trial: TrialRecord) -> int | None:
    """Frames on the wire in the window, both ways, counted at the partner's port."""
    return _sum_of(trial, "partner.rx_packets", "partner.tx_packets")


def watched_ns(trial: TrialRecord) -> int:
    """How long exits, CPU time, interrupts and the host's interface were counted."""
    return trial.window_ns + trial.wider_ns


def is_guest(trial: TrialRecord) -> bool:
    """Does its traffic end in a guest, and not on the host itself?"""
    return "cpu.vcpu_ns" in trial.counters


def is_idle(reason: str) -> bool:
    """Does an exit of this reason mean that the guest had nothing to do?"""
    return reason.lower() in IDLE_REASONS


def values_of(trial: TrialRecord) -> dict[str, float]:
    """All metrics of a trial by name: what its workload measured, and the ratios made here.

    A ratio whose parts were not recorded is absent, never zero.
    """
    return {**trial.metrics, **dict(_exit_ratios(trial)), **dict(_cpu_ratios(trial))}


def exit_cpu_ns(trial: TrialRecord, *, idle: bool) -> int | None:
    """CPU time of the vCPU threads in exits, i.e. what KVM, QEMU, and interrupts of the host that
    came meanwhile, took: in those of a guest that had nothing to do, polling for an end of that
    included, or in the others. None if it was not counted.
    """
    found = [e.cpu_ns for e in trial.exits or () if is_idle(e.reason) == idle]
    if trial.exits is None or "vcpus.window_ns" not in trial.counters or None in found:
        return None
    return sum(ns for ns in found if ns is not None)


def _exit_ratios(trial: TrialRecord) -> Iterator[tuple[str, float]]:
    if trial.exits is None or trial.window_ns <= 0:
        return
    busy = [exit_ for exit_ in trial.exits if not is_idle(exit_.reason)]
    count = _counts(busy)
    spent = {"exit": exit_cpu_ns(trial, idle=False), "halt": exit_cpu_ns(trial, idle=True)}
    for name, time_ns in spent.items():
        if time_ns is not None:
            yield f"{name}_time_share", 100 * time_ns / trial.counters["vcpus.window_ns"]
    if trial.workload == IDLE:
        yield "exits_per_s", count * NS_PER_S / watched_ns(trial)
        return
    if packets := packets_of(trial):
        mmio = _counts([e for e in busy if e.reason.lower() in MMIO_REASONS])
        yield "exits_per_packet", count / packets
        yield "mmio_exits_per_packet", mmio / packets
        for name, time_ns in spent.items():
            if time_ns is not None:
                yield f"{name}_time_per_packet", time_ns / _NS_PER_US / packets
    if octets := _sum_of(trial, "partner.rx_bytes", "partner.tx_bytes"):
        yield "exits_per_mib", count * MIB / octets


def _cpu_ratios(trial: TrialRecord) -> Iterator[tuple[str, float]]:
    counters = trial.counters
    total = counters.get("guest.cpu_total_ns")
    if total and is_guest(trial) and trial.guest_wider_ns is not None:
        yield "guest_cpu", 100 * counters.get("guest.cpu_busy_ns", 0) / total
    if trial.workload == IDLE:
        return
    octets = _sum_of(trial, "partner.rx_bytes", "partner.tx_bytes")
    busy = _sum_of(trial, "cpu.vcpu_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if octets and busy is not None:
        yield "cpu_per_gbit", busy / NS_PER_S / (octets * _BITS_PER_GBIT)
    packets = packets_of(trial)
    if not packets:
        return
    for metric, kind in _IRQS.items():
        # Timers and IPIs of a machine that is not a guest are not the path's.
        if kind in counters and (metric == "irqs_per_packet" or is_guest(trial)):
            yield metric, counters[kind] / packets
    for name in ("guest", "vhost", "qemu"):
        if (spent := counters.get(f"cpu.{name}_ns")) is not None:
            yield f"{name}_time_per_packet", spent / _NS_PER_US / packets
    in_exits = [exit_cpu_ns(trial, idle=idle) for idle in (False, True)]
    known = _sum_of(trial, "cpu.guest_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if trial.clock == "virtual" and known is not None and None not in in_exits:
        # Such a lab has one CPU, so nothing goes on beside the rest.
        rest = watched_ns(trial) - known - sum(ns for ns in in_exits if ns is not None)
        yield "rest_time_per_packet", max(0, rest) / _NS_PER_US / packets


def measurements(run: Run) -> pd.DataFrame:
    """One row a metric of a trial: MEASUREMENT_COLUMNS, and `block`, which the CSV leaves out."""
    rows = [
        {
            "run": t.run, "fidelity": t.fidelity, "host": t.host, "nic": t.nic, "path": t.path,
            "workload": t.workload, "metric": name, "unit": run.unit(name),
            "better": metric_of(name).better, "boot": t.boot, "trial": t.trial,
            "warmup": t.warmup, "valid": t.valid, "reason": "; ".join(t.reasons),
            "value": float(value), "variant": t.variant, "block": t.block,
        }
        for t in run.trials
        for name, value in values_of(t).items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*MEASUREMENT_COLUMNS, "block"])


def exits(run: Run) -> pd.DataFrame:
    """One row a reason of a counted trial (EXIT_COLUMNS).

    Warm-ups and invalid trials are left out, as there is no column to tell them by. A reason seen
    anywhere in the run has a row in each trial that counted exits, so that zero is a number.
    """
    counted = [(t, t.exits) for t in run.counted if t.exits is not None]
    reasons = _union((), (e.reason for _, found in counted for e in found))
    rows = [
        (t.run, t.path, t.workload, t.boot, t.trial, reason, *by_reason[reason][:2],
         watched_ns(t), packets_of(t), t.variant, by_reason[reason][2],
         t.counters.get("vcpus.window_ns"))
        for t, found in counted
        for by_reason in [_by_reason(found, reasons)]
        for reason in reasons
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(EXIT_COLUMNS))
    return frame.astype(dict.fromkeys(("packets", "cpu_ns", "vcpus_ns"), "Int64"))


def per_boot(measured: pd.DataFrame) -> pd.DataFrame:
    """The sampling units: a boot's value is the median over its valid trials, warm-ups apart.

    Columns: path, workload, metric, variant, block, boot, value.
    """
    kept = measured[measured["valid"].astype(bool) & ~measured["warmup"].astype(bool)]
    keys = ["path", "workload", "metric", "variant", "block", "boot"]
    return kept.groupby(keys, as_index=False, sort=True)[["value"]].median()


def exits_per_boot(counted: pd.DataFrame) -> pd.DataFrame:
    """Per boot and reason, the median over trials. Columns: path, workload, reason, boot,
    per_packet (exits), and of their time on a CPU, NaN if that was not counted, us_per_packet and
    share (per cent of the vCPUs' time)."""
    frame = counted[counted["workload"] != IDLE].copy()
    packets = frame["packets"].astype("float64").where(lambda n: n > 0)
    frame["per_packet"] = frame["count"] / packets
    spent = frame["cpu_ns"].astype("float64")
    frame["us_per_packet"] = spent / _NS_PER_US / packets
    frame["share"] = 100 * spent / frame["vcpus_ns"].astype("float64")
    keys = ["path", "workload", "reason", "boot"]
    columns = ["per_packet", "us_per_packet", "share"]
    return frame.groupby(keys, as_index=False, sort=True)[columns].median()


def export(run: Run, measured: pd.DataFrame, counted: pd.DataFrame, directory: Path) -> None:
    """Write measurements.csv, exits.csv and trials.jsonl into `directory`."""
    columns = list(MEASUREMENT_COLUMNS)
    measured.to_csv(directory / "measurements.csv", columns=columns, index=False)
    counted.to_csv(directory / "exits.csv", columns=list(EXIT_COLUMNS), index=False)
    lines = b"".join(msgspec.json.encode(trial) + b"\n" for trial in run.trials)
    (directory / "trials.jsonl").write_bytes(lines)


def _by_reason(
    found: Sequence[ExitCount], reasons: Sequence[str]
) -> dict[str, tuple[int, int, int | None]]:
    """Count, time and CPU time; the last is None where the trial's exits do not have it."""
    zero = 0 if all(exit_.cpu_ns is not None for exit_ in found) else None
    totals: dict[str, tuple[int, int, int | None]] = dict.fromkeys(reasons, (0, 0, zero))
    for exit_ in found:
        count, time_ns, cpu_ns = totals[exit_.reason]
        more = None if cpu_ns is None or exit_.cpu_ns is None else cpu_ns + exit_.cpu_ns
        totals[exit_.reason] = (count + exit_.count, time_ns + exit_.time_ns, more)
    return totals


def _counts(found: Sequence[ExitCount]) -> int:
    return sum(exit_.count for exit_ in found)


def _sum_of(trial: TrialRecord, *names: str) -> int | None:
    """The sum of counters; None if one was not read."""
    if any(name not in trial.counters for name in names):
        return None
    return sum(trial.counters[name] for name in names)


def _union(first: Sequence[str], more: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))
