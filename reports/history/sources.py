"""Where runs come from: a directory, or by name from the history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.core.errors import ConfigError
from harness.records import run as records
from harness.records.history.runs import open_history
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
