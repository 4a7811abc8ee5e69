"""`python -m reports.comparison`: judge one configuration beside another; the exit status says it.

BASE NEW              two runs
--against NAME RUN    a run beside the series NAME of the history
RUN                   the two configurations that RUN interleaved
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.crash import guarded
from harness.core.errors import HarnessError
from harness.core.status import Status

if TYPE_CHECKING:
    from harness.comparison.outcome import Comparison


def main(argv: list[str] | None = None) -> int:
    """The verdict as an exit status: FAILED for a regression, or a figure that NEW lost. Runs that
    cannot be compared, for whatever reason, give USAGE: a rig that failed must not look like a
    regression."""
    given = _parser().parse_args(argv)
    from reports.comparison import document, notices, words  # late: pandas and scipy take seconds

    try:
        outcome, beside = _outcome(given)
        page = document.write(outcome, beside if given.out is None else given.out)
    except HarnessError as error:
        print(f"nicproof: {error}", file=sys.stderr)
        return Status.USAGE
    told = notices.in_job(outcome, page, os.environ)
    if given.json:
        sys.stderr.writelines(f"{line}\n" for line in told)  # GitHub finds annotations there, too
        print(page.with_suffix(".json").read_text(encoding="utf-8"), end="")
    else:
        print("\n".join((f"report: {page}", *told, *words.describe(outcome))))
    if outcome.failed:
        return Status.FAILED
    return Status.UNDECIDED if given.strict and outcome.count("undecided") else Status.OK


def _outcome(given: argparse.Namespace) -> tuple[Comparison, Path]:
    """What is said, and the directory for it if none was named."""
    from harness.comparison import outcome
    from reports.history import sources

    runs = [sources.load(what, given.history) for what in given.runs]
    if given.against is not None:
        series = sources.series(given.against, given.history)
        found = outcome.against(series, runs[0], given.against, given.across)
        label = given.against
    elif len(runs) == 2:
        found = outcome.compare(runs[0], runs[1], given.across)
        label = runs[0].info.run
    else:
        return outcome.compare_variants(runs[0]), _place(given.runs[0])
    return found, _place(given.runs[-1]) / f"against-{label.replace('/', '-')}"


def _place(what: str) -> Path:
    """Beside the run; a run of the history has no directory, so then here."""
    return Path(what) if Path(what).exists() else Path("results") / what.replace("/", "-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reports.comparison")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--against", metavar="NAME")
    parser.add_argument("--history", metavar="WHERE")
    parser.add_argument("--across", action="append", default=[], metavar="KEY")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--out", type=Path, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
