"""From a choice to a lab that is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness.labs.base import Lab
from harness.labs.choice import Choice, NestedChoice
from harness.labs.nested.lab import open_nested_lab
from harness.labs.real.lab import open_real_lab
from harness.labs.shape import LabShape


@contextmanager
def open_lab(
    choice: Choice, *, run: str, run_dir: Path, shape: LabShape, progress: bool = True
) -> Iterator[Lab]:
    """The lab that was chosen, for `run`, until the context ends; a nested one of this `shape`. Its
    logs go to `run_dir`.

    Raises HarnessError of whichever kind says why there is none to be had.
    """
    if isinstance(choice, NestedChoice):
        with open_nested_lab(shape, run_dir=run_dir, progress=progress) as nested:
            yield replace(nested, ports=choice.ports)
    else:
        with open_real_lab(choice, run=run, progress=progress) as real:
            yield real
