"""The commands that judge: `compare`, `ab`, and `bench --against`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ablation, options
from harness.errors import ConfigError
from harness.flags import add_to, as_arguments, option
from harness.options import BenchOptions
from harness.suite import become, run_suite, run_to_its_end, suite_argv, workers_of
from harness.variant import CONFIGURATION, told

WORSE = 1
"""The exit status of a comparison that found a regression."""

AGAINST = (
    option(
        "--against",
        "judge the run against the series of that name in the history (1: a regression)",
        metavar="NAME",
    ),
    option(
        "--confirm",
        "settle a suspicion of --against at once: the baseline's configuration and this one, "
        "interleaved, block after block until it is decided or --max-blocks is reached",
        action="store_true",
    ),
    options.MAX_BLOCKS_OPTION,
)


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `ab` and `compare`."""
    _add_ab(commands)
    _add_compare(commands)


def _add_ab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    features = "\n".join(
        f"  {each.name:<14} {expected.told}" for each in ablation.ALL for expected in each.expected
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
        "expected), though some may be undecided, which --strict makes 3; 1 one is, or a trial or "
        "the rig failed; 2 wrong usage; 3 undecided (with --strict)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    strict = options.STRICT
    pair = [each for each in options.PAIR if each is not strict]
    add_to(ab.add_argument, (*pair, *options.RUN, *CONFIGURATION))
    ab.add_argument("--strict", help=strict.help, dest=strict.name, action="store_true")
    ab.set_defaults(**dict.fromkeys(each.name for each in options.SINGLE))
    ab.add_argument("pytest", nargs="*", metavar="-- PYTEST_ARGS", help="for pytest itself")
    ab.set_defaults(handler=_ab)


def _ab(given: argparse.Namespace) -> None:
    if given.a is None and given.b is None and given.ablate is None:
        raise ConfigError(
            "ab: two configurations are needed",
            remedy="describe one of them at least, by --a, --b or --ablate",
        )
    run, arguments = checked(given)
    run_suite("comparison", run.run_dir, arguments)


def checked(given: argparse.Namespace) -> tuple[BenchOptions, list[str]]:
    """A run of suites/comparison and the arguments for it: what is wrong with an option, or with
    the history, is told here, before pytest starts."""
    run = BenchOptions.of(given)
    if workers_of(given.pytest):
        raise ConfigError(
            "-n: a comparison takes one host, and has it to itself",
            remedy="start one for each host: --lab FILE#HOST",
        )
    if run.kept:
        from harness.history import check_usable  # late: SQLAlchemy takes a while

        check_usable(run.history)
    given.run_dir = str(run.run_dir)
    return run, [*as_arguments(given, options.OPTIONS), *given.pytest]


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="is a run worse than another? a verdict, an exit status, a report",
        description="Judge a run against another, figure by figure: regression, improvement, no "
        "change, or undecided. Writes regression.html, .md, .json, JUnit XML, OpenMetrics text and "
        "what github-action-benchmark and Bencher read; with $GITHUB_STEP_SUMMARY set, the summary "
        "of the job too.",
        epilog="examples:\n  nicproof compare results/base results/new\n"
        "  nicproof compare main results/new      # the newest run of that name in the history\n"
        "  nicproof compare results/tcg results/kvm --across fidelity\n\n"
        "exit status: 0 no regression, 1 a regression, 2 the runs cannot be compared, "
        "3 undecided (with --strict)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("base", metavar="BASE", help="the run to compare with: directory or name")
    compare.add_argument("new", metavar="NEW", help="the run to judge: directory or name")
    compare.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="KEY",
        help="a key in which the runs may differ, since that is the point of the comparison",
    )
    compare.add_argument(
        "--strict", action="store_true", help="exit status 3 if a figure is undecided"
    )
    compare.add_argument(
        "--out", metavar="DIR", help="where the report goes (default NEW/against-BASE)"
    )
    compare.add_argument("--history", metavar="WHERE", help="where names are looked up")
    compare.set_defaults(handler=_compare)


def _compare(given: argparse.Namespace) -> None:
    arguments = [given.base, given.new, *(f"--across={key}" for key in given.across)]
    arguments += ["--strict"] if given.strict else []
    arguments += [
        f"--{name}={value}" for name in ("out", "history") if (value := getattr(given, name))
    ]
    become("reports.regression", arguments)


def bench_against(given: argparse.Namespace, run: BenchOptions, arguments: Sequence[str]) -> int:
    """Make the run, judge it against the series, settle a suspicion if asked to; the exit status.

    A run that failed is judged all the same: what was measured was measured. ConfigError, before
    anything is measured, if there is no such series.
    """
    _check_series(given)
    status = run_to_its_end(suite_argv("comparison", run.run_dir, arguments))
    if status not in (0, 1):
        return status
    history = [f"--history={given.history}"] if given.history else []
    out = run.run_dir / f"against-{given.against.replace('/', '-')}"
    judging = ["-m", "reports.regression", str(run.run_dir), f"--against={given.against}"]
    judged = run_to_its_end([sys.executable, *judging, f"--out={out}", *history])
    if judged != WORSE or not given.confirm:
        return judged or status
    suspicion = Suspicion.read(out / "regression.json")
    print(f"\nto confirm: {suspicion.told()}")
    where = run.run_dir / "confirm"
    again = suspicion.arguments(given, where)
    return run_to_its_end(suite_argv("comparison", where, again)) or status


def _check_series(given: argparse.Namespace) -> None:
    from harness.history import open_history

    with open_history(given.history) as history:
        if not history.entries(given.against):
            raise ConfigError(
                f"--against {given.against}: no run of that name in {history.where}",
                remedy=f"make some first: nicproof bench --name {given.against}",
            )


@dataclass(frozen=True)
class Suspicion:
    """Figures that look worse than the baseline, and both configurations as --a and --b."""

    figures: tuple[str, ...]  # "path/workload/metric"
    a: str
    b: str

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
            told(found["base_options"]),
            told(found["new_options"]),
        )

    def told(self) -> str:
        return f"{', '.join(self.figures)}; a: {self.a or 'as usual'}, b: {self.b or 'as usual'}"

    def arguments(self, given: argparse.Namespace, run_dir: Path) -> list[str]:
        """For the suite that interleaves both, on the paths and workloads that are suspected.

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
            dict.fromkeys(each.split("/")[n] for each in self.figures) for n in (0, 1)
        )
        chosen = {
            "a": self.a,
            "b": self.b,
            "paths": ",".join(paths),
            "workloads": ",".join(workloads),
            "decide": ",".join(self.figures),
            "run-dir": str(run_dir),
        }
        kept = [each for each in (*options.RUN, *options.PAIR) if each.flag[2:] not in chosen]
        return [
            *(f"--{name}={value}" for name, value in chosen.items()),
            *as_arguments(given, kept),
        ]
