"""`nicproof ab`: two configurations, interleaved in one session."""

from __future__ import annotations

import argparse

from harness.cli.checked import checked
from harness.cli.parser import Commands, add_pytest, command
from harness.cli.planned import add_plan, is_planned, show_plan
from harness.core.errors import ConfigError
from harness.core.flags import add_to, options_of
from harness.core.status import Status
from harness.labs.shape import Machine
from harness.records import ablation
from harness.runs.asked import Measuring, Pair, Where
from harness.runs.suite import run_suite
from harness.runs.variant import Variant


def add_parser(commands: Commands) -> None:
    """Register `ab`."""
    features = "\n".join(
        f"  {each.name:<14} {expected.description}"
        for each in ablation.ALL
        for expected in each.expected
    )
    ab = command(
        commands,
        "ab",
        help="compare two configurations, interleaved in one session",
        description="Boot two configurations of the guests in turn, in randomised blocks, until "
        "every figure is decided: regression, improvement or no change of b against a. Before the "
        "first boot it says how many blocks so many figures need. Whatever follows -- goes to "
        "pytest.",
        epilog="examples:\n  nicproof ab --b='--vfio x-no-mmap=on'\n"
        "  nicproof ab --a='--rx-usecs 30' --b='--rx-usecs 3' --paths sriov --workloads latency\n"
        "  nicproof ab --a='--qemu /opt/old/qemu-system-x86_64' --paths virtio,sriov\n"
        "  nicproof ab --ablate x-no-mmap\n"
        "  nicproof ab --b='--virtio packed=on' --plan    # how many blocks, how many minutes\n\n"
        f"features to ablate, and what is expected:\n{features}\n\n"
        "exit status: 0 no figure is shown to be worse (an ablation: none did what was not "
        "expected), though some may be undecided, which --strict makes 3; 1 one is, or was lost, "
        "or a trial or the rig failed; 2 wrong usage; 3 undecided (with --strict); "
        f"4 {Status.CRASHED.meaning}",
    )
    strict = next(each for each in options_of(Pair) if each.name == "strict_verdict")
    asked = options_of(Pair, Measuring, Where, Machine, Variant)
    add_to(ab.add_argument, [each for each in asked if each.name != strict.name])
    # pytest has a --strict of its own, so the option cannot be called so there.
    ab.add_argument(
        "--strict", help=strict.help, dest=strict.name, action="store_true", default=None
    )
    add_plan(ab)
    add_pytest(ab)
    ab.set_defaults(handler=_ab)


def _ab(given: argparse.Namespace) -> int:
    if given.a is None and given.b is None and given.ablate is None:
        raise ConfigError(
            "ab: two configurations are needed",
            remedy="describe one of them at least, by --a, --b or --ablate",
        )
    planned = is_planned(given)
    asked = checked(given)
    if planned:
        return show_plan(asked, json=given.json)
    return run_suite("comparison", asked, given.pytest)
