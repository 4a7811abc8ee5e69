"""`--plan`: what a command would run and how long, instead of running it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from harness.cli.parser import add_json, print_json
from harness.core.errors import ConfigError
from harness.core.plain import plain
from harness.measure.plan import Made
from harness.runs.asked import Asked
from harness.runs.options import BenchOptions

if TYPE_CHECKING:
    from harness.runs.caseplan import CasePlan
    from harness.runs.plan import Plan


def add_plan(parser: argparse.ArgumentParser) -> None:
    """--plan, and --json that goes with it."""
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only print what would run and how long that takes, by earlier runs of the history",
    )
    add_json(parser, "with --plan: print the plan as JSON")


def is_planned(given: argparse.Namespace) -> bool:
    """ConfigError for --json without --plan, as there is no other table to print."""
    if given.json and not given.plan:
        raise ConfigError(
            "--json: it says nothing without --plan",
            remedy="a run's figures are in its directory: measurements.csv, regression.json",
        )
    return bool(given.plan)


def show_plan(asked: Asked, *, json: bool, made: Made = ()) -> int:
    """Print the plan of a comparison, but for trials that are made; the exit status."""
    from harness.runs.plan import plan_of  # late: only --plan needs it

    return print_plan(plan_of(BenchOptions.of(asked), made=made), json=json)


def print_plan(plan: Plan | CasePlan, *, json: bool) -> int:
    """For a person or a program; the exit status."""
    if json:
        print_json(plan)
    else:
        print(plain("\n".join(plan.lines())))
    return 0
