"""`nicproof report`: the report of a run, rendered again."""

from __future__ import annotations

import argparse

from harness.cli.parser import Commands, add_json, command
from harness.core.errors import ConfigError
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
        "  nicproof report results/20261123-101500-7f3a --json > said.json\n"
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
    add_json(
        report,
        "print what it says as JSON: answers, claims, where a packet's time goes; of two "
        "configurations regression.json, of a sweep sweep.json, of a qualification "
        "certificate.json",
    )
    report.set_defaults(handler=_report)


def _report(given: argparse.Namespace) -> None:
    explain = [] if given.explain is None else [f"--explain={given.explain}"]
    flags = [f"--{name}" for name in ("benchstat", "json") if getattr(given, name)]
    if given.json and (given.benchstat or explain):
        raise ConfigError("--json: it stands alone", remedy="leave out --benchstat and --explain")
    exec_module("reports", [given.run_dir, *explain, *flags])
