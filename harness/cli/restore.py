"""`nicproof restore [HOST]`: put a host back as it was before runs that crashed."""

from __future__ import annotations

import argparse

from harness.cli.inventory import add_host_options, host_of
from harness.cli.parser import Commands, command
from harness.core.flags import nonempty
from harness.hosts.base import Host
from harness.hosts.orphans import end_orphans
from harness.hosts.program import require_python
from harness.inventory.spec import LOCAL
from harness.journal.journal import restore
from harness.labs.reach import reached
from harness.labs.real.lock import fence, owners
from harness.pci.in_use import taken

EXAMPLES = """\
examples:
  nicproof restore                                this machine
  nicproof restore alpha                          a host of ./lab.toml, or a destination of ssh
  nicproof restore alpha --inventory rack12.toml
  nicproof restore alpha --gone 20261123-101500-7f3a  a run whose machine has lost its network

exit status: 0 the host is as it was before, 1 something could not be undone, 2 wrong usage
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof restore`."""
    parser = command(
        commands,
        "restore",
        help="undo what a run left that was killed or lost its host",
        description="End what is still under way of runs that were killed or lost their "
        "connection, and undo, from the journal on the host, what they left, the newest change "
        "first; then modules that were loaded, if nobody else is at work there. A run that is "
        "still alive is left alone, and so is a port that somebody uses by now. What the host's "
        "last boot has undone is dropped.",
        epilog=EXAMPLES,
    )
    add_host_options(parser, default=LOCAL)
    parser.add_argument(
        "--gone",
        metavar="RUN",
        type=nonempty,
        help="a run that is gone, although its connection seems to be there still: its machine has "
        "crashed, or lost its network; the connection is ended first",
    )
    parser.set_defaults(handler=_restore)


def _restore(given: argparse.Namespace) -> None:
    with reached(host_of(given)) as host:
        require_python(host)
        if given.gone:
            fence(host, given.gone)
            print(f"{host.name}: ended the connection of run {given.gone}")
        restore_aloud(host)


def restore_aloud(host: Host) -> None:
    """Undo what is left over, a line each. LabError if not everything could be undone.

    First what still runs of it is ended, so that nothing changes behind our back; locks of runs
    that are dead end with that.
    """
    ended = end_orphans(host)
    if ended:
        names = ", ".join(sorted(set(ended)))
        print(f"{host.name}: ended what a run that was killed had under way: {names}")
    alive = {owner.run: owner for owner in owners(host)}
    for owner in alive.values():
        hint = f"(is it gone? --gone {owner.run})"
        print(f"{host.name}: left alone, since it is at work: {owner} {hint}")
    messages: list[str] = []

    def tell(line: str) -> None:
        messages.append(line)
        print(f"{host.name}: {line}", flush=True)

    restore(host, alive=alive, guard=lambda bdf: taken(host, bdf), tell=tell)
    if not ended and not messages:
        print(f"{host.name}: nothing to restore")
