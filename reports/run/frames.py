"""Records to tables: one row a number."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from harness.core.metrics import metric_of
from harness.records.ratios import packets_of, timeout_us, values_of, watched_ns
from harness.records.run import Run, union
from harness.records.trial import IDLE, ExitCount, TrialRecord

MEASUREMENT_COLUMNS = (
    "run", "fidelity", "host", "nic", "path", "workload", "metric", "unit", "better", "boot",
    "trial", "warmup", "valid", "reason", "value", "variant",
)  # fmt: skip
EXIT_COLUMNS = (
    "run", "path", "workload", "boot", "trial", "reason", "count", "time_ns", "window_ns",
    "packets", "variant", "cpu_ns", "vcpus_ns",
)  # fmt: skip

_CSV_ROWS = 50_000  # at a time

_NS_PER_US = 1000


def round_trips(trial: TrialRecord) -> np.ndarray:
    """Of a trial, in ns; a probe without an answer took as long as it waited, at least."""
    waited = timeout_us(trial) * _NS_PER_US
    lost = np.full(trial.lost if waited < math.inf else 0, waited)
    return np.concatenate([np.array(trial.rtt_ns, dtype=np.float64), lost])


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
    reasons = union((), (e.reason for _, found in counted for e in found))
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
