"""`nicproof cache`: what is kept, how large it is, and what can go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.units import MIB
from harness.core.xdg import cache_root
from harness.labs.nested import kept
from harness.labs.nested.cache import locked
from harness.labs.nested.kept import Kept

PRUNE = "nicproof cache prune"


def add_parser(commands: Commands) -> None:
    """Register `nicproof cache`."""
    parser = command(
        commands,
        "cache",
        help="what is kept of the lab, how large, and what can go",
        description="Show what is kept in the cache, or remove what no current image needs: "
        "images of other versions of nicproof, states of labs, builds of QEMU. What a lab uses "
        "that is up stays. All of it can be made again.",
        epilog=f"examples:\n  nicproof cache\n  nicproof cache --json\n  {PRUNE}",
    )
    add_json(parser)
    parser.set_defaults(handler=_show)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    prune = verbs.add_parser("prune", help="remove what no current image needs")
    prune.set_defaults(handler=_prune)


def left_behind() -> str:
    """In a line, what no current image needs; "" if there is no such thing."""
    found = kept.unneeded()
    return f"{_counted(found)} that no current image needs; {PRUNE} removes it" if found else ""


def _show(given: argparse.Namespace) -> int:
    found = kept.kept()
    if given.json:
        print_json([{**asdict(each), "bytes": each.bytes_} for each in found])
        return 0
    print(f"{cache_root()}: {_counted(found)}")
    for each in found:
        needed = f"needed by {each.needed}" if each.needed else f"not needed: {PRUNE}"
        place = each.path.relative_to(cache_root())
        print(f"{_size(each.bytes_):>10}  {each.what:<21}  {place}  {needed}")
    return 0


def _prune(_: argparse.Namespace) -> int:
    removed = []
    for each in kept.unneeded():
        size = each.bytes_
        with locked(each.path.parent, print):
            if kept.remove(each):
                removed.append(size)
                print(f"removed {each.what} {each.path}: {_size(size)}")
    print(f"{_size(sum(removed))} freed" if removed else "nothing to remove")
    return 0


def _counted(found: Sequence[Kept]) -> str:
    return f"{len(found)} kept, {_size(sum(each.bytes_ for each in found))}"


def _size(bytes_: int) -> str:
    return f"{bytes_ / MIB:.0f} MiB"
