"""A run is killed, cut off, robbed of its guest or of its disk, at any of its steps; then restore.

L1 is somebody's ordinary host here, reached by nothing but a lab.toml. A driver provisions a path
there through the harness's own code, and at a step that was drawn a fault befalls it. Then the host
is restored as its user would do it, and a digest of it is the one from before. A run that survives
its fault has put back everything by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest
from rich.markup import escape

from fixtures.common.progress import Progress
from harness.labs.nested.lab import open_nested_lab
from harness.paths import DEFAULT
from harness.runs.options import BenchOptions
from suites.drill.exercise import Exercise, exercise, table
from suites.drill.plan import draw

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

LATE = 3.0
"""Seconds after a path's last point in which nothing may happen any more."""


@pytest.fixture(scope="module")
def drill(
    tmp_path_factory: pytest.TempPathFactory, progress: Progress, bench_options: BenchOptions
) -> Iterator[Exercise]:
    """A lab that nobody else is at work in."""
    directory = tmp_path_factory.mktemp("drill")
    with open_nested_lab(run_dir=directory, progress=False) as lab, exercise(lab, directory) as it:
        yield it
    progress.line(f"\nfaults (--seed={bench_options.seed}):")
    for line in table(it.outcomes):
        progress.line(f"  {line}")


@pytest.mark.parametrize("path", DEFAULT)
def test_whatever_befalls_a_run_restore_puts_the_host_back(
    path: str, drill: Exercise, progress: Progress, bench_options: BenchOptions
) -> None:
    points = draw(path, drill.steps(path), Random(f"{bench_options.seed} {path}"))
    failures = []
    for point in points:
        outcome = drill.undergo(point)
        colour = "[red]failed[/]" if outcome.problems else "restored"
        progress.line(f"  {colour} {outcome.seconds:4.1f} s  {escape(str(point))}")
        for problem in outcome.problems:
            failures.append(f"{point}: {problem}")
            progress.line(f"      [red]{escape(problem)}[/]")
    time.sleep(LATE)
    assert not drill.changed(), "something was at work there still"
    assert not failures, "\n".join((f"with --seed={bench_options.seed}:", *failures))
