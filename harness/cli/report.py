"""`nicproof report`: the report of a run, rendered again."""

from __future__ import annotations

import argparse

from harness.cli.parser import Commands, command
from harness.core.flags import nonempty
from harness.runs.suite import exec_module


def add_parser(commands: Commands) -> None:
    """Register `report`."""
    report = command(
        commands,
        "report",
        help="render the report of a run again",
        description="Render a run's report, or a qualification's certificate, again from its "
        "records; no host is needed.",
        epilog="examples:\n  nicproof report results/20261123-101500-7f3a\n"
        "  nicproof report results/20261123-101500-7f3a --explain sriov\n"
        "  nicproof report results/20261123-101500-7f3a --benchstat > new.txt",
    )
    report.add_argument(
        "run_dir",
        metavar="RUN_DIR",
        type=nonempty,
        help="a directory that `bench` or `qualify` made",
    )
    report.add_argument(
        "--explain",
        metavar="PATH",
        type=nonempty,
        help="print where the time of a packet on this path goes",
    )
    report.add_argument(
        "--benchstat", action="store_true", help="only print the run in benchstat's input format"
    )
    report.set_defaults(handler=_report)


def _report(given: argparse.Namespace) -> None:
    explain = [] if given.explain is None else [f"--explain={given.explain}"]
    exec_module("reports", [given.run_dir, *explain, *(["--benchstat"] if given.benchstat else [])])
