"""`nicproof bisect`: the commit that made it worse, by `git bisect` with `ab` as the judge."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.checked import checked
from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.errors import ConfigError
from harness.core.flags import add_to, nonempty, options_of, said
from harness.core.plain import plain
from harness.core.status import Status
from harness.labs.shape import Machine
from harness.runs.asked import Measuring, Pair, Where
from harness.runs.claim import RESULTS, new_run
from harness.runs.variant import Variant

if TYPE_CHECKING:
    from harness.runs.bisect import Found

EXAMPLES = """\
examples:
  nicproof bisect --good v10.0.0 --bad v10.1.0 --repo ~/qemu --paths virtio \\
      --b='--qemu {tree}/build/qemu-system-x86_64' -- make -C build -j8
  nicproof bisect --good HEAD~20 --bad HEAD --options-from guest.options -- true

Each revision is built by COMMAND in the repository's tree, and compared with the good one, which is
built in a second tree beside it: `nicproof ab`, a the good one, b the revision. Worse is bad, no
worse is good; undecided, lost, or cannot be built: skipped. The tree is afterwards as it was, after
Ctrl-C too.

exit status: 0 the commit was found; 1 the rig failed (go on with --resume); 2 wrong usage, or bad
is not shown to be worse than good; 3 only skipped commits are left; 130 interrupted
"""

OF_PAIRS = tuple(each for each in options_of(Pair) if each.name in ("max_blocks", "decide"))
OF_RUNS = tuple(each for each in options_of(Where) if each.name != "run_dir")
PASSED_ON = (*OF_PAIRS, *options_of(Measuring), *OF_RUNS, *options_of(Machine, Variant))
"""The options that are `ab`'s own."""


def add_parser(commands: Commands) -> None:
    """Register `bisect`."""
    parser = command(
        commands,
        "bisect",
        help="which commit made it worse? git bisect, judged by ab",
        description="Find the first commit of a kernel module, QEMU or any other tree since which "
        "a figure is worse: `git bisect`, with `nicproof ab` as the judge of each step.",
        epilog=EXAMPLES,
    )
    for flag, what in (("--good", "a commit before"), ("--bad", "a later one, that is worse")):
        parser.add_argument(flag, metavar="REV", required=True, type=nonempty, help=what)
    parser.add_argument(
        "--repo", metavar="DIR", type=nonempty, default=".", help="the checkout (default: here)"
    )
    parser.add_argument(
        "--b",
        metavar="OPTIONS",
        default="",
        help="the configuration of a revision, as for ab; {tree} in it is where that was built",
    )
    parser.add_argument(
        "--options-from",
        metavar="FILE",
        type=nonempty,
        help="a file in the tree, of the repository or left by COMMAND: further such options",
    )
    parser.add_argument(
        "--resume",
        metavar="DIR",
        type=nonempty,
        help="go on with a bisect of the same commits that came to no end, by what it left there",
    )
    add_to(parser.add_argument, PASSED_ON)
    add_json(parser, "print what was found as JSON, all else on standard error")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="builds a revision")
    parser.set_defaults(handler=_bisect)


def _bisect(given: argparse.Namespace) -> int:
    if not (given.b or given.options_from):
        raise ConfigError(
            "bisect: no revision would differ from another",
            remedy="say by --b or --options-from what of a revision is measured",
        )
    from harness.runs.bisect import Bisection, Wanted, load  # late: no other command needs them
    from harness.runs.repository import Repository

    checked(argparse.Namespace(**{**vars(given), "b": None, "pytest": []}))
    repository = Repository.at(Path(given.repo))
    good = repository.commit(given.good, "--good")
    bad = repository.commit(given.bad, "--bad")
    repository.require_fit(good, bad)
    steps = load(Path(given.resume), good, bad) if given.resume else ()
    directory = Path(given.resume or f"{RESULTS}/bisect-{new_run()}").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        command=tuple(given.command),
        options=given.b,
        options_from=given.options_from or "",
        ab=tuple(said(given, PASSED_ON)),
        decides=given.decide is not None,
    )
    with _aside(given.json):
        bisection = Bisection(repository, good, bad, wanted, directory, steps=list(steps))
        found = bisection.run(resumed=bool(given.resume))
    if given.json:
        print_json(found)
    else:
        print(plain("\n".join(_lines(found, directory))))
    return Status.OK if found.first_bad else Status.UNDECIDED


@contextmanager
def _aside(wanted: bool) -> Iterator[None]:
    """What we and the programs that we start print goes to standard error meanwhile."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _lines(found: Found, directory: Path) -> Iterator[str]:
    """The outcome, for a person; the verdict last."""
    yield ""
    for each in found.steps:
        yield f"{each.verdict:<5} {each.sha[:12]} {each.subject}"
    yield f"runs: {directory}"
    if found.any_of:
        names = ", ".join(each[:12] for each in found.any_of)
        yield f"the first bad commit could be any of: {names}"
        return
    yield from (f"  {each}" for each in found.worse)
    yield f"first bad commit: {found.first_bad[:12]} {found.subject}"
