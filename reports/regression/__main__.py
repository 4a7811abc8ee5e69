"""`python -m reports.regression BASE NEW`: judge a run against another; the exit status says it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from harness.errors import HarnessError

OK, WORSE, CANNOT, UNDECIDED = 0, 1, 2, 3


def main(argv: list[str] | None = None) -> int:
    """0: no regression; 1: one at least; 2: the runs cannot be compared; 3: undecided, --strict."""
    given = _parser().parse_args(argv)
    from reports.regression import document  # late: pandas and scipy take seconds

    try:
        outcome = document.compare(given.base, given.new, given.across)
        page = document.write(outcome, given.out or given.new / f"against-{outcome.base.info.run}")
    except HarnessError as error:
        print(f"nicproof: {error}", file=sys.stderr)
        return CANNOT
    for change in outcome.primary:
        marked = document.sentence(change)
        print(f"{change.verdict:<12} {marked}{f' ({change.why})' if change.why else ''}")
    print(f"\n{document.headline(outcome)}\nreport: {page}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(page.with_suffix(".md").read_text(encoding="utf-8"))
    if outcome.count("regression"):
        return WORSE
    return UNDECIDED if given.strict and outcome.count("undecided") else OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reports.regression")
    parser.add_argument("base", type=Path, metavar="BASE")
    parser.add_argument("new", type=Path, metavar="NEW")
    parser.add_argument("--across", action="append", default=[], metavar="KEY")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--out", type=Path, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
