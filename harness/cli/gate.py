"""The commands that judge: `compare`, `ab`, and `bench --against`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from harness.core.errors import ConfigError
from harness.core.flags import add_to, nonempty, options_of, read, says
from harness.core.status import Status
from harness.records import ablation, series
from harness.records.alike import check_across
from harness.runs.claim import PUTTING_BACK
from harness.runs.options import Asked, BenchOptions, Measuring, Pair, Single, Where
from harness.runs.suite import (
    exec_module,
    not_together,
    python,
    run_and_wait,
    run_suite,
    suite_argv,
    workers_of,
)
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


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ab` and `compare`."""
    _add_ab(commands)
    _add_compare(commands)


def _add_ab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    features = "\n".join(
        f"  {each.name:<14} {expected.description}"
        for each in ablation.ALL
        for expected in each.expected
    )
    ab = commands.add_parser(
        "ab",
        help="compare two configurations, interleaved in one session",
        description="Boot two configurations of the guests in turn, in randomised blocks, until "
        "every figure is decided: regression, improvement or no change of b against a. Before the "
        "first boot it says how many blocks so many figures need. Whatever follows -- goes to "
        "pytest.",
        epilog="examples:\n  nicproof ab --b='--vfio x-no-mmap=on'\n"
        "  nicproof ab --a='--rx-usecs 30' --b='--rx-usecs 3' --paths sriov --workloads latency\n"
        "  nicproof ab --a='--qemu /opt/old/qemu-system-x86_64' --paths virtio,sriov\n"
        "  nicproof ab --ablate x-no-mmap\n\n"
        f"features to ablate, and what is expected:\n{features}\n\n"
        "exit status: 0 no figure is shown to be worse (an ablation: none did what was not "
        "expected), though some may be undecided, which --strict makes 3; 1 one is, or was lost, "
        "or a trial or the rig failed; 2 wrong usage; 3 undecided (with --strict); "
        f"4 {Status.CRASHED.meaning}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    strict = next(each for each in options_of(Pair) if each.name == "strict_verdict")
    asked = options_of(Pair, Measuring, Where, Variant)
    add_to(ab.add_argument, [each for each in asked if each.name != strict.name])
    # pytest has a --strict of its own, so the option cannot be called so there.
    ab.add_argument(
        "--strict", help=strict.help, dest=strict.name, action="store_true", default=None
    )
    ab.add_argument("pytest", nargs="*", metavar="-- PYTEST_ARGS", help="for pytest itself")
    ab.set_defaults(handler=_ab)


def _ab(given: argparse.Namespace) -> int:
    if given.a is None and given.b is None and given.ablate is None:
        raise ConfigError(
            "ab: two configurations are needed",
            remedy="describe one of them at least, by --a, --b or --ablate",
        )
    return run_suite("comparison", checked(given), given.pytest)


def _add_across(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="KEY",
        type=nonempty,
        help="a key in which the runs may differ, since that is the point of the comparison; paths "
        "or workloads: the new run may be asked for fewer of them, which else counts as lost",
    )


def add_bench_options(bench: argparse.ArgumentParser) -> None:
    """Those of `bench`, which `bench` below takes."""
    add_to(bench.add_argument, options_of(Measuring, Where, Single, Variant, Against))
    add_to(bench.add_argument, MAX_BLOCKS)
    _add_across(bench)


def bench(given: argparse.Namespace) -> int:
    """Handler of `bench`; the exit status."""
    check_across(given.across)
    asked, judging = checked(given), read(Against, given)
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


def checked(given: argparse.Namespace) -> Asked:
    """What is asked of a run of suites/comparison: what is wrong with an option, or with the
    history, is told here, before pytest starts."""
    asked = Asked.of(given)
    run = BenchOptions.of(asked)
    if workers_of(given.pytest):
        raise not_together()
    if run.kept:
        from harness.records.history.runs import check_usable  # late: SQLAlchemy takes a while

        check_usable(run.history)
    return asked


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="is a run worse than another? a verdict, an exit status, a report",
        description="Judge a run against another, figure by figure: regression, improvement, no "
        "change, undecided, or not measured, if BASE has it and NEW has not. "
        "Writes regression.html, .md, .json, JUnit XML, OpenMetrics text and "
        "what github-action-benchmark and Bencher read; with $GITHUB_STEP_SUMMARY set, the summary "
        "of the job too.",
        epilog="examples:\n  nicproof compare results/base results/new\n"
        "  nicproof compare main results/new      # the newest run of that name in the history\n"
        "  nicproof compare results/tcg results/kvm --across fidelity\n"
        "  nicproof compare results/all results/sriov --across paths\n\n"
        "exit status: 0 no regression; 1 a regression, or a figure of BASE that NEW has not; 2 the "
        f"runs cannot be compared; 3 undecided (with --strict); 4 {Status.CRASHED.meaning}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument(
        "base", metavar="BASE", type=nonempty, help="the run to compare with: directory or name"
    )
    compare.add_argument(
        "new", metavar="NEW", type=nonempty, help="the run to judge: directory or name"
    )
    _add_across(compare)
    compare.add_argument(
        "--strict", action="store_true", help="exit status 3 if a figure is undecided"
    )
    compare.add_argument(
        "--out",
        metavar="DIR",
        type=nonempty,
        help="where the report goes (default NEW/against-BASE)",
    )
    compare.add_argument(
        "--history", metavar="WHERE", type=nonempty, help="where names are looked up"
    )
    compare.set_defaults(handler=_compare)


def _compare(given: argparse.Namespace) -> None:
    check_across(given.across)
    arguments = [given.base, given.new, *(f"--across={key}" for key in given.across)]
    arguments += ["--strict"] if given.strict else []
    message = {name: getattr(given, name) for name in ("out", "history")}
    arguments += [f"--{name}={value}" for name, value in message.items() if value is not None]
    exec_module("reports.comparison", arguments)


def _bench_against(
    judging: Against, across: Sequence[str], asked: Asked, pytest: Sequence[str]
) -> int:
    """Make the run, judge it against the series, settle a suspicion if asked to; the exit status.

    A run that failed is judged all the same: what was measured was measured. ConfigError, before
    anything is measured, if there is no such series.
    """
    name, where = judging.against or "", asked.measuring.history
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
