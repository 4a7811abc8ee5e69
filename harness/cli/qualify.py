"""`nicproof qualify`: a thin door to the suite of cases."""

from __future__ import annotations

import argparse
from typing import Annotated

import msgspec

from harness.cli.checked import check_history
from harness.cli.parser import Commands, add_json, add_pytest, command
from harness.cli.planned import print_plan
from harness.core.errors import ConfigError
from harness.core.flags import add_to, options_of, read, says
from harness.labs.choice import require_room, require_together
from harness.labs.shape import Machine
from harness.qualify.options import Qualification, QualifyOptions
from harness.runs.asked import Asked, Where
from harness.runs.options import BenchOptions
from harness.runs.suite import exec_module, run_suite, workers_of

EPILOG = """\
examples:
  nicproof qualify                               a port of ./lab.toml, else of the nested lab
  nicproof qualify --lab nested                  the nested lab's emulated 82576
  nicproof qualify --lab rack12.toml#alpha --nic 0000:01:00.1
  nicproof qualify --run-dir results/82576       say where the certificate goes
  nicproof qualify --family isolation            one family of cases only
  nicproof qualify --list                        what would be run, without running it
  nicproof qualify --plan                        where, how many cases, how long
  nicproof qualify --soak 10m                    traffic on all VFs for ten minutes at the end
  nicproof qualify --lab nested -n 2             two workers, each with a lab of its own
  nicproof qualify --lab rack12.toml -n 3        three, each with a host of the inventory

exit status: 0 fit (failures known of emulated hardware are told as deviations), 1 a case failed or
the rig did, 2 wrong usage, 130 interrupted
"""


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """Of the command alone: pytest-xdist has this option by itself."""

    n: (
        Annotated[
            int,
            says(
                "so many workers side by side, each with a host of the inventory, or a nested "
                "lab, of its own",
                metavar="N",
                flag="-n",
                ge=1,
                le=64,
            ),
        ]
        | None
    ) = None


def add_parser(commands: Commands) -> None:
    """Register `qualify`."""
    parser = command(
        commands,
        "qualify",
        help="is this NIC fit to carry VMs? real cases, a certificate at the end",
        description="Qualify a NIC, with its firmware, driver, kernel and QEMU, by real cases: "
        "discovery, SR-IOV lifecycle, datapath, isolation, offloads, interrupts, resets, PTP, "
        "virtualisation, stress. The same as `pytest suites/qualification` with the same options; "
        "whatever follows -- goes to pytest.",
        epilog=EPILOG,
    )
    add_to(parser.add_argument, options_of(Qualification, Where, Machine, Together))
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="only print where what would run, and how long that takes by earlier runs in results/",
    )
    add_json(parser, "with --list or --plan: print that as JSON")
    add_pytest(parser)
    parser.set_defaults(handler=_qualify)


def _qualify(given: argparse.Namespace) -> int:
    asked = Asked.of(given)
    wanted = QualifyOptions.of(asked.qualification)  # what is wrong is told before pytest starts
    run = BenchOptions.of(asked)
    workers = _workers(given)
    if given.json and not (given.list or given.plan):
        raise ConfigError(
            "--json: it says nothing without --list or --plan",
            remedy="what a qualification came to is in its directory: certificate.json",
        )
    if given.list:
        json = ("--json",) if given.json else ()
        exec_module("fixtures.qualification.caselist", (*json, *wanted.families))
    lab = run.lab
    require_together(lab)
    if wanted.nic:
        lab = lab.testing(wanted.nic)
    if workers.isdecimal():
        require_room(lab, int(workers))
    if given.plan:
        from harness.runs.caseplan import plan_of  # late: only --plan needs it

        return print_plan(plan_of(wanted, lab, asked.machine.shape(), workers), json=given.json)
    check_history(run)
    # Cases of a file share guests.
    together = [f"-n{workers}", "--dist=loadfile"] if workers else []
    return run_suite("qualification", asked, [*given.pytest, *together])


def _workers(given: argparse.Namespace) -> str:
    """As pytest-xdist's -n takes them; "" for none."""
    ours, others = read(Together, given).n, workers_of(given.pytest)
    if ours is not None and others:
        raise ConfigError(f"-n {ours} and -- -n {others}: one or the other")
    return others if ours is None else str(ours)
