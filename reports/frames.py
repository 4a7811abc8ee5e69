"""Records to tables: one row a number. Every ratio of the report is made here, from integers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd

from harness.errors import ConfigError
from harness.measure.record import IDLE, ExitCount, RunInfo, TrialRecord
from harness.percentiles import summarise
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
    "packets", "variant",
)  # fmt: skip

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


def is_idle(reason: str) -> bool:
    """Does an exit of this reason mean that the guest had nothing to do?"""
    return reason.lower() in IDLE_REASONS


def values_of(trial: TrialRecord) -> dict[str, float]:
    """All metrics of a trial by name: what its workload measured, and the ratios made here.

    A ratio whose parts were not recorded is absent, never zero.
    """
    return {**measured_of(trial), **dict(_exit_ratios(trial)), **dict(_cpu_ratios(trial))}


def measured_of(trial: TrialRecord) -> dict[str, float]:
    """What the workload measured. Records of a prober that waited for each answer (they name an
    interval and no schedule) hold percentiles of too few probes, without those that were lost;
    these are made anew."""
    if not trial.rtt_ns or "interval" not in trial.parameters:
        return trial.metrics
    others = {name: v for name, v in trial.metrics.items() if not name.startswith("rtt_")}
    return others | summarise(trial.rtt_ns, trial.lost, round(timeout_us(trial) * _NS_PER_US))


def round_trips(trial: TrialRecord) -> list[float]:
    """Of a trial, in ns; a probe without an answer took as long as it waited, at least."""
    waited = timeout_us(trial) * _NS_PER_US
    return [*map(float, trial.rtt_ns), *[waited] * (trial.lost if waited < math.inf else 0)]


def timeout_us(trial: TrialRecord) -> float:
    """How long a probe waits for its answer, in us: what a lost one counts as; else infinity."""
    seconds = trial.parameters.get("timeout", "") if trial.workload == "latency" else ""
    return float(seconds) * 1e6 if seconds else math.inf


def exit_cpu_ns(trial: TrialRecord) -> int | None:
    """CPU time of the vCPU threads outside of the guest: what KVM and QEMU did for them.

    Less than the time from exit to entry, which also holds waiting for a CPU, and the host's
    own interrupts.
    """
    if not {"cpu.vcpu_ns", "cpu.guest_ns"} <= trial.counters.keys():
        return None
    return max(0, trial.counters["cpu.vcpu_ns"] - trial.counters["cpu.guest_ns"])


def _exit_ratios(trial: TrialRecord) -> Iterator[tuple[str, float]]:
    if trial.exits is None or trial.window_ns <= 0:
        return
    busy = [exit_ for exit_ in trial.exits if not is_idle(exit_.reason)]
    count, time_ns = _counts(busy), exit_cpu_ns(trial)
    if time_ns is not None:
        yield "exit_time_share", 100 * time_ns / watched_ns(trial)
    if trial.workload == IDLE:
        yield "exits_per_s", count * NS_PER_S / watched_ns(trial)
        return
    if packets := packets_of(trial):
        mmio = _counts([e for e in busy if e.reason.lower() in MMIO_REASONS])
        yield "exits_per_packet", count / packets
        yield "mmio_exits_per_packet", mmio / packets
        if time_ns is not None:
            yield "exit_time_per_packet", time_ns / _NS_PER_US / packets
    if octets := _sum_of(trial, "partner.rx_bytes", "partner.tx_bytes"):
        yield "exits_per_mib", count * MIB / octets


def _cpu_ratios(trial: TrialRecord) -> Iterator[tuple[str, float]]:
    counters = trial.counters
    if total := counters.get("guest.cpu_total_ns"):
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
    if "irq.guest" in counters:
        yield "irqs_per_packet", counters["irq.guest"] / packets
    for name in ("guest", "vhost", "qemu"):
        if (spent := counters.get(f"cpu.{name}_ns")) is not None:
            yield f"{name}_time_per_packet", spent / _NS_PER_US / packets
    if trial.clock == "virtual" and busy is not None:  # such a lab has one CPU
        rest = max(0, watched_ns(trial) - busy)
        yield "rest_time_per_packet", rest / _NS_PER_US / packets


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
        (t.run, t.path, t.workload, t.boot, t.trial, reason, by_reason[reason][0],
         by_reason[reason][1], watched_ns(t), packets_of(t), t.variant)
        for t, found in counted
        for by_reason in [_by_reason(found, reasons)]
        for reason in reasons
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(EXIT_COLUMNS))
    return frame.astype({"packets": "Int64"})


def per_boot(measured: pd.DataFrame) -> pd.DataFrame:
    """The sampling units: a boot's value is the median over its valid trials, warm-ups apart.

    Columns: path, workload, metric, variant, block, boot, value.
    """
    kept = measured[measured["valid"].astype(bool) & ~measured["warmup"].astype(bool)]
    keys = ["path", "workload", "metric", "variant", "block", "boot"]
    return kept.groupby(keys, as_index=False, sort=True)[["value"]].median()


def exits_per_boot(counted: pd.DataFrame) -> pd.DataFrame:
    """Per boot and reason, the median over trials. Columns: path, workload, reason, boot,
    per_packet (exits), us_per_packet, share (per cent of the window)."""
    frame = counted[counted["workload"] != IDLE].copy()
    packets = frame["packets"].astype("float64").where(lambda n: n > 0)
    frame["per_packet"] = frame["count"] / packets
    frame["us_per_packet"] = frame["time_ns"] / _NS_PER_US / packets
    frame["share"] = 100 * frame["time_ns"] / frame["window_ns"]
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


def _by_reason(found: Sequence[ExitCount], reasons: Sequence[str]) -> dict[str, tuple[int, int]]:
    totals = dict.fromkeys(reasons, (0, 0))
    for exit_ in found:
        count, time_ns = totals[exit_.reason]
        totals[exit_.reason] = (count + exit_.count, time_ns + exit_.time_ns)
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
