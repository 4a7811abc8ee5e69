"""What a record can hold: figures are finite and not negative, as they count and measure amounts.

Where a record is written, what is no value is left out and said; where one is read, it is damage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from harness.core.errors import ConfigError
from harness.core.plain import plain_record
from harness.records.trial import RunInfo, TrialRecord

T = TypeVar("T")


def sound(record: TrialRecord) -> TrialRecord:
    """The trial as it can be stored: without what is no value, and with that, invalid."""
    found = tuple(faults(record))
    if not found:
        return record
    return replace(
        record,
        valid=False,
        reasons=(*record.reasons, *found),
        metrics={name: value for name, value in record.metrics.items() if _is_amount(value)},
        counters={name: value for name, value in record.counters.items() if _is_amount(value)},
        exits=record.exits if not any(_exit_faults(record)) else None,
        rtt_ns=tuple(value for value in record.rtt_ns if _is_amount(value)),
        window_ns=max(0, record.window_ns),
        wider_ns=max(0, record.wider_ns),
    )


def faults(record: TrialRecord) -> Iterator[str]:
    """Why this cannot be what was measured, in words."""
    yield from _wrong(record.metrics)
    yield from _wrong(record.counters)
    if record.window_ns < 0 or record.wider_ns < 0:
        yield from _wrong({"window_ns": record.window_ns, "wider_ns": record.wider_ns})
    yield from _exit_faults(record)
    if not _is_amount(least := min(record.rtt_ns, default=0)):
        yield f"a round trip of {least} ns is no value"


def damage(record: TrialRecord) -> Iterator[str]:
    """Faults that no stored trial may have. One that does not count may have some, since earlier
    versions stored what they had; but for what JSON cannot hold."""
    if record.valid:
        yield from faults(record)
    else:
        odd = {name: value for name, value in record.metrics.items() if not math.isfinite(value)}
        yield from _wrong(odd)


def _exit_faults(record: TrialRecord) -> Iterator[str]:
    for each in record.exits or ():
        if each.count < 0 or each.time_ns < 0:
            yield f"{each.count} exits {each.reason}, {each.time_ns} ns: no value"


def _wrong(values: Mapping[str, float]) -> Iterator[str]:
    if math.isfinite(sum(values.values())) and min(values.values(), default=0) >= 0:
        return  # all are finite, as their sum is: the many records that are sound are told fast
    for name, value in values.items():
        if not _is_amount(value):
            yield f"{name}: {value} is no value"


def _is_amount(value: float) -> bool:
    return 0 <= value < math.inf  # neither is true of NaN


def read_trial(body: bytes | str, where: str, *, remedy: str) -> TrialRecord:
    """The trial in a stored document. ConfigError, with `where`, if it cannot be one."""
    record = _read(body, TrialRecord, where, remedy)
    if found := tuple(damage(record)):
        place = f"{record.path} {record.workload}, boot {record.boot}, trial {record.trial}"
        raise ConfigError(f"{where} ({place}): {'; '.join(found)}", remedy=remedy)
    return record


def read_info(body: bytes | str, where: str, *, remedy: str) -> RunInfo:
    """What is known of a run, from a stored document. ConfigError, with `where`, if it is none."""
    return _read(body, RunInfo, f"{where}: what holds for the whole run", remedy)


def _read(body: bytes | str, kind: type[T], where: str, remedy: str) -> T:
    try:
        return plain_record(body, kind)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{where} cannot be read: {error}", remedy=remedy) from error
