"""`nicproof bench`: compare network paths, and, if asked to, judge the run against a series."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from harness.cli.checked import checked
from harness.cli.parser import Commands, add_across, add_pytest, command
from harness.cli.planned import add_plan, is_planned, show_plan
from harness.core.errors import ConfigError
from harness.core.flags import add_to, options_of, read, says
from harness.core.status import Status
from harness.labs.shape import Machine
from harness.records import series
from harness.records.alike import check_across
from harness.runs.asked import Asked, Measuring, Pair, Single, Where
from harness.runs.claim import PUTTING_BACK
from harness.runs.suite import python, run_and_wait, run_suite, suite_argv
from harness.runs.variant import Variant, describe


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """Of the command alone: the suite only measures."""

    against: (
        Annotated[
            str,
            says(
                "judge the run against the series of that name in the history (1: a regression, or "
                "a figure that was lost)",
                metavar="NAME",
                min_length=1,
                max_length=series.LONGEST,
            ),
        ]
        | None
    ) = None
    confirm: Annotated[
        bool,
        says(
            "settle a suspicion of --against at once: the baseline's configuration and this one, "
            "interleaved, block after block until it is decided or --max-blocks is reached"
        ),
    ] = False


MAX_BLOCKS = tuple(each for each in options_of(Pair) if each.name == "max_blocks")


def add_parser(commands: Commands) -> None:
    """Register `bench`."""
    bench = command(
        commands,
        "bench",
        help="compare network paths into a VM",
        description="Compare network paths into a VM under the same workloads, with every VM exit "
        "accounted for. The same as `pytest suites/comparison` with the same options; whatever "
        "follows -- goes to pytest.",
        epilog="examples:\n  nicproof bench --quick\n"
        "  nicproof bench --paths native,sriov --workloads latency --boots 10\n"
        "  nicproof bench --boots 10 --plan                 # what would run, how long\n"
        "  nicproof bench --name main                       # a run of the series main\n"
        "  nicproof bench --against main --confirm\n"
        "  nicproof bench --quick -- -x --junit-xml=junit.xml",
    )
    add_to(bench.add_argument, options_of(Measuring, Where, Machine, Single, Variant, Against))
    add_to(bench.add_argument, MAX_BLOCKS)
    add_across(bench)
    add_plan(bench)
    add_pytest(bench)
    bench.set_defaults(handler=_bench)


def _bench(given: argparse.Namespace) -> int:
    """Handler of `bench`; the exit status."""
    check_across(given.across)
    planned = is_planned(given)
    asked, judging = checked(given), read(Against, given)
    if planned:
        return show_plan(asked, json=given.json)
    if judging.against is not None:
        return _bench_against(judging, given.across, asked, given.pytest)
    alone = {
        "--confirm": judging.confirm,
        "--max-blocks": asked.pair.max_blocks is not None,
        "--across": given.across,
    }
    for flag, is_given in alone.items():
        if is_given:
            raise ConfigError(f"{flag}: it says nothing without --against")
    return run_suite("comparison", asked, given.pytest)


def _bench_against(
    judging: Against, across: Sequence[str], asked: Asked, pytest: Sequence[str]
) -> int:
    """Make the run, judge it against the series, settle a suspicion if asked to; the exit status.

    A run that failed is judged all the same: what was measured was measured. ConfigError, before
    anything is measured, if there is no such series.
    """
    name, where = judging.against or "", asked.where.history
    _check_series(name, where)
    argv, run_dir = suite_argv("comparison", asked, pytest)
    status = run_and_wait(argv, run_dir / PUTTING_BACK)
    if status not in (Status.OK, Status.FAILED):
        return status
    history = [] if where is None else [f"--history={where}"]
    out = run_dir / f"against-{name.replace('/', '-')}"
    judge = [*python("reports.comparison"), str(run_dir), f"--against={name}"]
    judge += [f"--across={key}" for key in across]
    judged = run_and_wait([*judge, f"--out={out}", *history])
    if judged != Status.FAILED or not judging.confirm:
        return judged or status
    suspicion = Suspicion.read(out / "regression.json")
    if not suspicion.figures:
        print(f"\nnothing to confirm: what was lost ({suspicion.lost}) is no suspicion")
        return Status.FAILED
    print(f"\nto confirm: {suspicion.describe()}")
    confirmed = run_suite("comparison", suspicion.asked(asked, run_dir / "confirm"), ())
    return confirmed or status or (Status.FAILED if suspicion.lost else Status.OK)


def _check_series(name: str, where: str | None) -> None:
    from harness.records.history.runs import open_history

    with open_history(where) as history:
        if not history.entries(name):
            raise ConfigError(
                f"--against {name}: no run of that name in {history.where}",
                remedy=f"make some first: nicproof bench --name {name}",
            )


@dataclass(frozen=True)
class Suspicion:
    """Figures that look worse than the baseline, and both configurations as --a and --b."""

    figures: tuple[str, ...]  # "path/workload/metric"
    a: str
    b: str
    lost: int = 0  # others, that the baseline has and the run has not

    @classmethod
    def read(cls, file: Path) -> Suspicion:
        """From a comparison that found a regression."""
        found: dict[str, Any] = json.loads(file.read_text())
        return cls(
            tuple(
                f"{each['path']}/{each['workload']}/{each['metric']}"
                for each in found["changes"]
                if each["primary"] and each["verdict"] == "regression"
            ),
            describe(found["base_options"]),
            describe(found["new_options"]),
            sum(
                each["primary"] and each["verdict"] in ("not measured", "not asked for")
                for each in found["changes"]
            ),
        )

    def describe(self) -> str:
        return f"{', '.join(self.figures)}; a: {self.a or 'as usual'}, b: {self.b or 'as usual'}"

    def asked(self, first: Asked, run_dir: Path) -> Asked:
        """What is asked of the run that interleaves both, on the paths and workloads that are
        suspected; all else as it was asked of the first.

        ConfigError if the configurations do not differ in anything that one session can vary.
        """
        if self.a == self.b:
            raise ConfigError(
                "--confirm: the baseline was made with the same options, so there is nothing to "
                "interleave: what differs is outside of them (the report lists it)",
                remedy="go back to the old kernel, driver or QEMU and run the baseline again; or "
                "give its QEMU by --qemu",
            )
        paths, workloads = (
            ",".join(dict.fromkeys(each.split("/")[n] for each in self.figures)) for n in (0, 1)
        )
        return replace(
            first,
            where=replace(first.where, run_dir=str(run_dir)),
            measuring=replace(first.measuring, paths=paths, workloads=workloads),
            single=Single(),
            configuration=Variant(),  # a and b say all of it
            pair=replace(first.pair, a=self.a, b=self.b, decide=",".join(self.figures)),
        )
