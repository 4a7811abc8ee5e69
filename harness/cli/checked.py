"""What is asked of a run, checked before anything starts."""

from __future__ import annotations

import argparse

from harness.runs.asked import Asked
from harness.runs.options import BenchOptions
from harness.runs.suite import not_together, workers_of


def checked(given: argparse.Namespace) -> Asked:
    """What is asked of a run of suites/comparison: what is wrong with an option, or with the
    history, is told here, before pytest starts."""
    asked = Asked.of(given)
    run = BenchOptions.of(asked)
    if workers_of(given.pytest):
        raise not_together()
    check_history(run)
    return asked


def check_history(run: BenchOptions) -> None:
    """ConfigError or StoreFailed if the run is to be kept in a history that it could not be added
    to."""
    if run.kept:
        from harness.records.history.runs import check_usable  # late: SQLAlchemy takes a while

        check_usable(run.history)
