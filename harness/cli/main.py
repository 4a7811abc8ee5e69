"""The `nicproof` command: thin doors to the suites, the reports and the lab."""

from __future__ import annotations

import argparse

from harness import __version__
from harness.cli import (
    ab,
    bench,
    bisect,
    cache,
    compare,
    completion,
    doctor,
    history,
    inventory,
    lab,
    nic,
    persist,
    qualify,
    report,
    restore,
    sweep,
)
from harness.core.crash import guarded
from harness.core.status import explained

COMMANDS = (
    bench,
    qualify,
    ab,
    sweep,
    bisect,
    compare,
    report,
    history,
    lab,
    cache,
    inventory,
    doctor,
    restore,
    persist,
    nic,
    completion,
)
"""In the order in which `--help` lists them; each registers itself by its `add_parser`."""

_EPILOG = f"""\
examples:
  nicproof bench --quick                          two boots a path, about 20 minutes
  nicproof bench --paths sriov,virtio-vhost       only these two, six boots each
  nicproof bench --paths sriov --vfio x-no-mmap=on --quick
  nicproof qualify                                is this NIC fit? cases and a certificate
  nicproof bench --against main --confirm         is this worse than the runs named main?
  nicproof ab --b='--vfio x-no-mmap=on'           what does this option cost? boots interleaved
  nicproof sweep --over queues=1,2,4 --guest-cpus 4    what do more queues bring?
  nicproof bisect --good v1 --bad v2 --options-from guest.options -- make
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
  source <(nicproof completion bash)              Tab completes commands, paths, workloads

exit status:
{explained()}
"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = command_line()
    given = parser.parse_args(argv)
    return guarded(lambda: given.handler(given))


def command_line() -> argparse.ArgumentParser:
    """Of all commands."""
    parser = argparse.ArgumentParser(
        prog="nicproof",
        description="What does a network path into a virtual machine really cost?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nicproof {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for each in COMMANDS:
        each.add_parser(commands)
    return parser
