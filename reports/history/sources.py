"""Where runs come from: a directory, or by name from the history."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from harness.core.errors import ConfigError
from harness.records import run as records
from harness.records.history.runs import History, RunEntry, open_history
from harness.records.history.summaries import Summary
from harness.records.run import Run


def load(what: str, history: str | None = None) -> Run:
    """The run in the directory `what`, or the one of that name in the history.

    ConfigError if there is neither.
    """
    if Path(what).exists():
        return records.load(Path(what))
    try:
        with open_history(history) as store:
            return records.checked(Run(*store.load(store.find(what))), what)
    except ConfigError as error:
        raise ConfigError(
            f"{what}: no directory, and no run of the history: {error.message}", remedy=error.remedy
        ) from error


def series(name: str, history: str | None = None) -> Iterator[Run]:
    """The runs of a name, the newest first, read one at a time; interrupted ones and those of two
    configurations are left out."""
    with open_history(history) as store:
        for entry in store.entries(name):
            run = Run(*store.load(entry))
            if run.info.finished and not run.info.variants:
                yield run


def summaries(
    history: History, entries: Sequence[RunEntry], metrics: Collection[str]
) -> Iterator[tuple[RunEntry, Summary]]:
    """Runs, each with its summary, in their order; those of two configurations are left out, which
    would be two series. Where many are read in full, which is done once, stderr says how far it
    is."""
    found = history.summaries.load(history, entries, metrics, _say)
    for entry, summary in zip(entries, found, strict=True):
        if not summary.pair:
            yield entry, summary


_MANY = 50
"""Runs that take seconds to be read in full."""


def _say(made: int, missing: int) -> None:
    if missing < _MANY:
        return
    if sys.stderr.isatty():
        end = "\n" if made == missing else ""
        print(f"\rreading runs in full, once: {made} of {missing}", end=end, file=sys.stderr)
    elif made == 1:
        print(f"reading {missing} runs in full, once", file=sys.stderr)
