"""`nicproof sweep`: options varied together, a configuration for each point of the grid."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from harness.cli.checked import check_history, checked
from harness.cli.parser import Commands, add_pytest, command
from harness.cli.planned import add_plan, is_planned, show_plan
from harness.core.errors import ConfigError
from harness.core.flags import PATH_MAX, add_to, given_of, options_of, read, says
from harness.core.status import Status
from harness.labs.shape import Machine
from harness.measure.plan import Made, made_of
from harness.records import store
from harness.records.trial import IDLE
from harness.runs.asked import Measuring, Single, Where
from harness.runs.claim import PUTTING_BACK, take_up
from harness.runs.options import BenchOptions
from harness.runs.suite import exec_module, resume_suite, run_and_wait, suite_argv
from harness.runs.sweep import MOST_POINTS, Sweep
from harness.runs.variant import Variant


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """Of the command alone."""

    resume: (
        Annotated[
            str,
            says(
                "go on with the sweep of this directory, which was cut off: only what is missing "
                "of it is measured",
                metavar="DIR",
                min_length=1,
                max_length=PATH_MAX,
            ),
        ]
        | None
    ) = None


OF_ONE = tuple(each for each in options_of(Single) if each.name != "explain")
ASKED = (*options_of(Sweep, Measuring, Where, Machine), *OF_ONE, *options_of(Variant))


def add_parser(commands: Commands) -> None:
    """Register `sweep`."""
    sweep = command(
        commands,
        "sweep",
        help="vary options of a configuration; a curve of each figure",
        description="Boot a configuration for each value of an option, or for each combination of "
        "several, in randomised blocks as ab has them. The report has a curve for each path, "
        "workload and figure, and says where it stops gaining. Without --lab-cpus the nested lab "
        "gets as many CPUs as the largest point needs for each thread to have one of its own: 12 "
        "for two queues and two vCPUs. Whatever follows -- goes to pytest.",
        epilog="examples:\n"
        "  nicproof sweep --over queues=1,2,4 --guest-cpus 4 --streams 4 --paths virtio-vhost\n"
        "  nicproof sweep --over queues=1,2 --over guest-cpus=1,2 --paths virtio-vhost\n"
        "  nicproof sweep --over mtu=1500,9000 --workloads tcp-tx --plan    # points, minutes\n"
        "  nicproof sweep --over rx-usecs=0,20,65,200 --paths sriov --workloads latency\n"
        "  nicproof sweep --resume results/20261129-152200-7f3a    # go on where it was cut off\n\n"
        f"{MOST_POINTS} points at the most. A step between two points is judged as ab judges two "
        "configurations; with fewer than six boots no knee is told.\n\n"
        "exit status: 0 every trial was measured, whatever the curve; 1 a trial or the rig failed; "
        f"2 wrong usage; 4 {Status.CRASHED.meaning}; 130 interrupted: --resume goes on",
    )
    add_to(sweep.add_argument, (*ASKED, *options_of(Resumed)))
    add_plan(sweep)
    add_pytest(sweep)
    sweep.set_defaults(handler=_sweep)


def _sweep(given: argparse.Namespace) -> int:
    planned = is_planned(given)
    resumed = read(Resumed, given)
    if resumed.resume is not None:
        return _resume(Path(resumed.resume), given, planned=planned)
    if not given.over:
        raise ConfigError(
            "sweep: nothing is varied",
            remedy="say what by --over OPTION=VALUE,VALUE, e.g. --over queues=1,2",
        )
    asked = checked(given)
    if planned:
        return show_plan(asked, json=given.json)
    argv, run_dir = suite_argv("comparison", asked, given.pytest)
    return _ended(run_and_wait(argv, run_dir / PUTTING_BACK), run_dir)


def _ended(status: int, run_dir: Path) -> int:
    """The status; what to do about what is missing is told."""
    if status != Status.OK and (run_dir / store.FILENAME).exists():
        print(f"to make what is missing: nicproof sweep --resume {run_dir}")
    return status


def _resume(directory: Path, given: argparse.Namespace, *, planned: bool) -> int:
    """Go on with a sweep; its exit status, or that of its report if nothing of it is missing."""
    if others := given_of(given, ASKED):
        name = next(each.flag for each in ASKED if each.name in others)
        raise ConfigError(f"--resume {directory}: it is as it was asked for; leave out {name}")
    asked, document = take_up(directory)
    if not asked.sweep.over:
        raise ConfigError(
            f"--resume {directory}: not the run of a sweep", remedy="run that one again"
        )
    made = _made(directory)
    if planned:
        return show_plan(asked, json=given.json, made=made)
    options = BenchOptions.of(asked, directory)
    check_history(options)
    if len(made) >= options.planned_trials:
        _finish(directory)
        print("nothing of it is missing", flush=True)
        exec_module("reports", [str(directory)])
    return _ended(resume_suite("comparison", asked, document, given.pytest), directory)


def _made(directory: Path) -> Made:
    """Its trials; none if it was cut off before it had a store."""
    if not (directory / store.FILENAME).exists():
        return ()
    with store.open_run(directory) as records:
        return made_of(each for each in records.trials() if each.workload != IDLE)


def _finish(directory: Path) -> None:
    """It has all that was asked for."""
    with store.take_up(directory) as records:
        records.save_info(replace(records.info(), finished=True))
