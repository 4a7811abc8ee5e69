"""Records to tables: one row a number. Every ratio of the report is made here, from integers."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from harness.core.errors import ConfigError
from harness.core.facts import PathFacts, WorkloadFacts
from harness.core.metrics import IDLE_REASONS, METRICS, MMIO_REASONS, Grounds, Metric
from harness.core.percentiles import summarise
from harness.core.units import MIB, NS_PER_S
from harness.records import facts
from harness.records.store import open_run
from harness.records.trial import IDLE, ExitCount, RunInfo, TrialRecord
from reports.run import style

MEASUREMENT_COLUMNS = (
    "run", "fidelity", "host", "nic", "path", "workload", "metric", "unit", "better", "boot",
    "trial", "warmup", "valid", "reason", "value", "variant",
)  # fmt: skip
EXIT_COLUMNS = (
    "run", "path", "workload", "boot", "trial", "reason", "count", "time_ns", "window_ns",
    "packets", "variant", "cpu_ns", "vcpus_ns",
)  # fmt: skip

_CSV_ROWS = 50_000  # at a time

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

    @cached_property
    def counted(self) -> tuple[TrialRecord, ...]:
        """The trials that figures are made from: valid, and no warm-up."""
        return tuple(t for t in self.trials if t.valid and not t.warmup)

    def grounds(self, metric: str) -> Grounds:
        """How far this run's figures of a metric may be relied upon."""
        return metric_of(metric).grounds(self.info.fidelity, self.info.clock)

    def unit(self, metric: str) -> str:
        """A metric's unit by the clock of this run."""
        return metric_of(metric).unit_by(self.info.clock)

    def path_facts(self, path: str) -> PathFacts:
        return facts.path_facts(self.info, path)

    def workload_facts(self, workload: str) -> WorkloadFacts:
        return facts.workload_facts(self.info, workload)

    @cached_property
    def colours(self) -> dict[str, str]:
        """Of each path; of one that has none of its own, a spare one."""
        return style.path_colours({path: self.path_facts(path).colour for path in self.paths})

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths asked for, in that order, then any other that has trials."""
        return _union(self.info.paths, (t.path for t in self.trials))

    @cached_property
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


@cache
def _is_mmio(reason: str) -> bool:
    return reason.lower() in MMIO_REASONS


@cache
def is_idle(reason: str) -> bool:
    """Does an exit of this reason mean that the guest had nothing to do?"""
    return reason.lower() in IDLE_REASONS


def values_of(trial: TrialRecord) -> dict[str, float]:
    """All metrics of a trial by name: what its workload measured, and the ratios made here.

    A ratio whose parts were not recorded is absent, never zero.
    """
    exits = _exits_of(trial)
    ratios = (*_exit_ratios(trial, exits), *_cpu_ratios(trial, exits))
    return {**measured_of(trial), **dict(ratios)}


def measured_of(trial: TrialRecord) -> dict[str, float]:
    """What the workload measured. Records of a prober that waited for each answer (they name an
    interval and no schedule) hold percentiles of too few probes, without those that were lost;
    these are made anew."""
    if not trial.rtt_ns or "interval" not in trial.parameters:
        return trial.metrics
    others = {name: v for name, v in trial.metrics.items() if not name.startswith("rtt_")}
    return others | summarise(trial.rtt_ns, trial.lost, round(timeout_us(trial) * _NS_PER_US))


def round_trips(trial: TrialRecord) -> np.ndarray:
    """Of a trial, in ns; a probe without an answer took as long as it waited, at least."""
    waited = timeout_us(trial) * _NS_PER_US
    lost = np.full(trial.lost if waited < math.inf else 0, waited)
    return np.concatenate([np.array(trial.rtt_ns, dtype=np.float64), lost])


def timeout_us(trial: TrialRecord) -> float:
    """How long a probe waits for its answer, in us: what a lost one counts as; else infinity."""
    seconds = trial.parameters.get("timeout", "") if trial.workload == "latency" else ""
    return float(seconds) * 1e6 if seconds else math.inf


@dataclass(frozen=True)
class _Exits:
    """What a trial's exits sum up to: of a guest that had nothing to do, polling for an end of that
    included, and the others.

    CPU time is that of the vCPU threads in exits, i.e. what KVM, QEMU, and interrupts of the host
    that came meanwhile, took. None where it was not counted.
    """

    count: int  # of the others
    mmio: int  # of these
    busy_ns: int | None
    idle_ns: int | None


def _exits_of(trial: TrialRecord) -> _Exits | None:
    """None if they were not counted."""
    if trial.exits is None:
        return None
    count = mmio = busy_ns = idle_ns = 0
    timed = "vcpus.window_ns" in trial.counters
    for exit_ in trial.exits:
        cpu_ns = exit_.cpu_ns or 0
        timed = timed and exit_.cpu_ns is not None
        if is_idle(exit_.reason):
            idle_ns += cpu_ns
            continue
        busy_ns += cpu_ns
        count += exit_.count
        if _is_mmio(exit_.reason):
            mmio += exit_.count
    return _Exits(count, mmio, *((busy_ns, idle_ns) if timed else (None, None)))


def _exit_ratios(trial: TrialRecord, exits: _Exits | None) -> Iterator[tuple[str, float]]:
    if exits is None or trial.window_ns <= 0:
        return
    spent = {"exit": exits.busy_ns, "halt": exits.idle_ns}
    for name, time_ns in spent.items():
        if time_ns is not None:
            yield f"{name}_time_share", 100 * time_ns / trial.counters["vcpus.window_ns"]
    if trial.workload == IDLE:
        yield "exits_per_s", exits.count * NS_PER_S / watched_ns(trial)
        return
    if packets := packets_of(trial):
        yield "exits_per_packet", exits.count / packets
        yield "mmio_exits_per_packet", exits.mmio / packets
        for name, time_ns in spent.items():
            if time_ns is not None:
                yield f"{name}_time_per_packet", time_ns / _NS_PER_US / packets
    if octets := _sum_of(trial, "partner.rx_bytes", "partner.tx_bytes"):
        yield "exits_per_mib", exits.count * MIB / octets


def _cpu_ratios(trial: TrialRecord, exits: _Exits | None) -> Iterator[tuple[str, float]]:
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
    known = _sum_of(trial, "cpu.guest_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if trial.clock != "virtual" or known is None or exits is None:
        return
    if exits.busy_ns is not None and exits.idle_ns is not None:
        # Such a lab has one CPU, so nothing goes on beside the rest.
        rest = watched_ns(trial) - known - exits.busy_ns - exits.idle_ns
        yield "rest_time_per_packet", max(0, rest) / _NS_PER_US / packets


def measurements(run: Run) -> pd.DataFrame:
    """One row a metric of a trial: MEASUREMENT_COLUMNS, and `block`, which the CSV leaves out."""
    trials = [(trial, values_of(trial)) for trial in run.trials]
    rows = _Rows([trial for trial, _ in trials], [len(values) for _, values in trials])
    names = [name for _, values in trials for name in values]
    figures = [value for _, values in trials for value in values.values()]
    metrics = _categories(names)
    columns = {
        **rows.texts("run", "fidelity", "host", "nic", "path", "workload", "variant"),
        **rows.numbers("boot", "trial", "warmup", "valid", "block"),
        "reason": rows.text(["; ".join(trial.reasons) for trial in rows.trials]),
        "metric": metrics,
        "unit": _mapped(metrics, run.unit),
        "better": _mapped(metrics, lambda name: metric_of(name).better),
        "value": np.array(figures, dtype=np.float64),
    }
    return pd.DataFrame(columns, columns=[*MEASUREMENT_COLUMNS, "block"])


def exits(run: Run) -> pd.DataFrame:
    """One row a reason of a counted trial (EXIT_COLUMNS).

    Warm-ups and invalid trials are left out, as there is no column to tell them by. A reason seen
    anywhere in the run has a row in each trial that counted exits, so that zero is a number.
    """
    counted = [(trial, trial.exits) for trial in run.counted if trial.exits is not None]
    reasons = _union((), (e.reason for _, found in counted for e in found))
    rows = _Rows([trial for trial, _ in counted], [len(reasons)] * len(counted))
    totals = [total for _, found in counted for total in _by_reason(found, reasons).values()]

    def known(values: Sequence[int | None]) -> pd.api.extensions.ExtensionArray:
        return pd.array(values, dtype="Int64")

    packets = known([packets_of(trial) for trial in rows.trials])
    vcpus = known([trial.counters.get("vcpus.window_ns") for trial in rows.trials])
    columns = {
        **rows.texts("run", "path", "workload", "variant"),
        **rows.numbers("boot", "trial"),
        "reason": _categories(reasons * len(counted)),
        "count": np.array([count for count, _, _ in totals], dtype=np.int64),
        "time_ns": np.array([time_ns for _, time_ns, _ in totals], dtype=np.int64),
        "window_ns": rows.repeated([watched_ns(trial) for trial in rows.trials]),
        "packets": packets.repeat(len(reasons)),
        "cpu_ns": known([cpu_ns for _, _, cpu_ns in totals]),
        "vcpus_ns": vcpus.repeat(len(reasons)),
    }
    return pd.DataFrame(columns, columns=list(EXIT_COLUMNS))


class _Rows:
    """Columns of a table with several rows a trial, made by the trial and not by the row.

    Words are categories: of so many rows few are different.
    """

    def __init__(self, trials: Sequence[TrialRecord], counts: Sequence[int]) -> None:
        self.trials = trials
        self._counts = np.array(counts, dtype=np.int64)

    def texts(self, *names: str) -> dict[str, pd.Categorical[str]]:
        return {name: self.text([getattr(t, name) for t in self.trials]) for name in names}

    def text(self, values: Sequence[str]) -> pd.Categorical[str]:
        return _categories(values).repeat(self._counts)

    def numbers(self, *names: str) -> dict[str, np.ndarray]:
        return {name: self.repeated([getattr(t, name) for t in self.trials]) for name in names}

    def repeated(self, values: Sequence[int]) -> np.ndarray:
        array = np.array(values, dtype=None if values else np.int64)
        return array.repeat(self._counts)


def per_boot(measured: pd.DataFrame) -> pd.DataFrame:
    """The sampling units: a boot's value is the median over its valid trials, warm-ups apart.

    Columns: path, workload, metric, variant, block, boot, value.
    """
    kept = measured[measured["valid"].astype(bool) & ~measured["warmup"].astype(bool)]
    keys = ["path", "workload", "metric", "variant", "block", "boot"]
    return _medians(kept, keys, ["value"])


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
    return _medians(frame, keys, columns)


def _medians(frame: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
    """A row a combination of keys, in their order; words are words again, since there are few."""
    found = frame.groupby(keys, as_index=False, sort=True, observed=True)[columns].median()
    words = [key for key in keys if isinstance(found[key].dtype, pd.CategoricalDtype)]
    return found.astype(dict.fromkeys(words, "str"))


def export(run: Run, measured: pd.DataFrame, counted: pd.DataFrame, directory: Path) -> None:
    """Write measurements.csv, exits.csv and trials.jsonl into `directory`."""
    _write_csv(measured, MEASUREMENT_COLUMNS, directory / "measurements.csv")
    _write_csv(counted, EXIT_COLUMNS, directory / "exits.csv")
    encoder = msgspec.json.Encoder()
    with (directory / "trials.jsonl").open("wb") as file:
        file.writelines(encoder.encode(trial) + b"\n" for trial in run.trials)


def _write_csv(frame: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """What DataFrame.to_csv writes, in less than half of its time, as a word is made fit once and
    not in each row; and the rows never are all in memory as Python's objects."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(columns) + "\n")
        for start in range(0, len(frame), _CSV_ROWS):
            part = frame.iloc[start : start + _CSV_ROWS]
            rows = zip(*(_cells(part[name]) for name in columns), strict=True)
            file.writelines(f"{line}\n" for line in map(",".join, rows))


def _cells(column: pd.Series[Any]) -> list[str]:
    """A column as it stands in a CSV file: what is not known is empty."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = [_quoted(word) for word in column.cat.categories]
        return list(np.array([*words, ""], dtype=object)[column.cat.codes])  # -1: the last one
    if column.hasnans:
        return ["" if value is pd.NA else str(value) for value in column]
    return list(map(str, column.tolist()))


def _quoted(word: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow((word, ""))
    return line.getvalue()[: -len(",\n")]


def _categories(words: Sequence[str]) -> pd.Categorical[str]:
    """Known in the order of the words, so that groups are in it too."""
    known = sorted(set(words))
    code = {word: number for number, word in enumerate(known)}
    codes = np.array([code[word] for word in words], dtype=np.int32)
    return pd.Categorical.from_codes(codes, pd.Index(known, dtype="str"))


def _mapped(words: pd.Categorical[str], other: Callable[[str], str]) -> pd.Categorical[str]:
    """Another word for each: asked for once a word that there is."""
    return _categories([other(word) for word in words.categories]).take(words.codes)


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


def _sum_of(trial: TrialRecord, *names: str) -> int | None:
    """The sum of counters; None if one was not read."""
    try:
        return sum([trial.counters[name] for name in names])
    except KeyError:
        return None


def _union(first: Sequence[str], more: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))
