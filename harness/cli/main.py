"""The `nicproof` command: thin doors to the suites, the reports and the lab."""

from __future__ import annotations

import argparse

from harness import __version__
from harness.cli import cache as kept_commands
from harness.cli import doctor as doctor_commands
from harness.cli import gate, nic, restore
from harness.cli import history as history_commands
from harness.cli import inventory as inventory_commands
from harness.cli import lab as lab_commands
from harness.cli import persist as persist_commands
from harness.cli import qualify as qualify_commands
from harness.core.crash import guarded
from harness.core.flags import nonempty
from harness.core.status import explained
from harness.runs.suite import exec_module

_EPILOG = f"""\
examples:
  nicproof bench --quick                          two boots a path, about six minutes
  nicproof bench --paths sriov,virtio-vhost       only these two, six boots each
  nicproof bench --paths sriov --vfio x-no-mmap=on --quick
  nicproof qualify                                is this NIC fit? cases and a certificate
  nicproof bench --against main --confirm         is this worse than the runs named main?
  nicproof ab --b='--vfio x-no-mmap=on'           what does this option cost? boots interleaved
  nicproof compare results/base results/new       is the new run worse?
  nicproof report results/20261123-101500-7f3a    render a run again, without any host
  nicproof history                                the runs that were made, newest first
  nicproof lab shell                              look around inside the nested lab
  nicproof cache prune                            remove what no current image needs
  nicproof doctor alpha.lab                       what a machine can and cannot do
  nicproof inventory check                        is lab.toml right?
  nicproof restore alpha.lab                      undo what a run left that was killed
  nicproof persist alpha                          its set-up as files that outlast a boot
  sudo nicproof nic show 0000:01:00.0             a NIC, held against its model's profile

exit status:
{explained()}
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(argv)
    return guarded(lambda: given.handler(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nicproof",
        description="What does a network path into a virtual machine really cost?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nicproof {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_bench(commands)
    qualify_commands.add_parser(commands)
    gate.add_parsers(commands)
    _add_report(commands)
    history_commands.add_parser(commands)
    lab_commands.add_parser(commands)
    kept_commands.add_parser(commands)
    inventory_commands.add_parser(commands)
    doctor_commands.add_parser(commands)
    restore.add_parser(commands)
    persist_commands.add_parser(commands)
    nic.add_parser(commands)
    return parser


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="compare network paths into a VM",
        description="Compare network paths into a VM under the same workloads, with every VM exit "
        "accounted for. The same as `pytest suites/comparison` with the same options; whatever "
        "follows -- goes to pytest.",
        epilog="examples:\n  nicproof bench --quick\n"
        "  nicproof bench --paths native,sriov --workloads latency --boots 10\n"
        "  nicproof bench --name main                       # a run of the series main\n"
        "  nicproof bench --against main --confirm\n"
        "  nicproof bench --quick -- -x --junit-xml=junit.xml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    gate.add_bench_options(bench)
    bench.add_argument("pytest", nargs="*", metavar="-- PYTEST_ARGS", help="for pytest itself")
    bench.set_defaults(handler=gate.bench)


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="render the report of a run again",
        description="Render a run's report, or a qualification's certificate, again from its "
        "records; no host is needed.",
        epilog="examples:\n  nicproof report results/20261123-101500-7f3a\n"
        "  nicproof report results/20261123-101500-7f3a --explain sriov\n"
        "  nicproof report results/20261123-101500-7f3a --benchstat > new.txt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
