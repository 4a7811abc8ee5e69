"""`nicproof compare`: is a run worse than another?"""

from __future__ import annotations

import argparse

from harness.cli.parser import Commands, add_across, add_json, command
from harness.core.flags import nonempty
from harness.core.status import Status
from harness.records.alike import check_across
from harness.runs.suite import exec_module


def add_parser(commands: Commands) -> None:
    """Register `compare`."""
    compare = command(
        commands,
        "compare",
        help="is a run worse than another? a verdict, an exit status, a report",
        description="Judge a run against another, figure by figure: regression, improvement, no "
        "change, undecided, or not measured, if BASE has it and NEW has not. "
        "Writes regression.html, .md, .json, figures, JUnit XML, GitLab's code quality report, "
        "OpenMetrics text, a mail, and what github-action-benchmark and Bencher read, all of them "
        "each time. In a GitHub job it prints annotations and fills in the step's summary too.",
        epilog="examples:\n  nicproof compare results/base results/new\n"
        "  nicproof compare main results/new      # the newest run of that name in the history\n"
        "  nicproof compare results/tcg results/kvm --across fidelity\n"
        "  nicproof compare results/all results/sriov --across paths\n\n"
        "exit status: 0 no regression; 1 a regression, or a figure of BASE that NEW has not; 2 the "
        f"runs cannot be compared; 3 undecided (with --strict); 4 {Status.CRASHED.meaning}",
    )
    compare.add_argument(
        "base", metavar="BASE", type=nonempty, help="the run to compare with: directory or name"
    )
    compare.add_argument(
        "new", metavar="NEW", type=nonempty, help="the run to judge: directory or name"
    )
    add_across(compare)
    compare.add_argument(
        "--strict", action="store_true", help="exit status 3 if a figure is undecided"
    )
    compare.add_argument(
        "--out",
        metavar="DIR",
        type=nonempty,
        help="where the report goes (default NEW/against-BASE)",
    )
    compare.add_argument(
        "--history", metavar="WHERE", type=nonempty, help="where names are looked up"
    )
    add_json(compare, "print the verdicts as JSON, as regression.json has them")
    compare.set_defaults(handler=_compare)


def _compare(given: argparse.Namespace) -> None:
    check_across(given.across)
    arguments = [given.base, given.new, *(f"--across={key}" for key in given.across)]
    arguments += [f"--{name}" for name in ("strict", "json") if getattr(given, name)]
    given_options = {name: getattr(given, name) for name in ("out", "history")}
    arguments += [f"--{name}={value}" for name, value in given_options.items() if value is not None]
    exec_module("reports.comparison", arguments)
