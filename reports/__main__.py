"""`python -m reports RUN_DIR`: render a run again, without any host."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.core.crash import guarded
from harness.records.cases import CASES_FILE
from harness.records.run import load
from harness.records.store import open_run
from harness.records.trial import RunInfo


def main(argv: list[str] | None = None) -> None:
    """The report's path on stdout. Raises HarnessError."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Render a run's report or certificate from its records.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="e.g. results/<run-id>")
    parser.add_argument("--explain", metavar="PATH", help="print where a packet's time goes")
    parser.add_argument("--benchstat", action="store_true", help="only print benchstat's input")
    parser.add_argument("--json", action="store_true", help="print what it says as JSON")
    arguments = parser.parse_args(argv)
    # Late: pandas and matplotlib take seconds, and neither --help nor a typing error needs them.
    from reports.certificate import document as certificate
    from reports.comparison import document as pairs
    from reports.run import benchstat, document, explain, said
    from reports.sweep import document as sweep

    if arguments.benchstat:
        print(benchstat.text(load(arguments.run_dir)), end="", flush=True)
        return
    if (arguments.run_dir / CASES_FILE).exists():
        page, _ = certificate.render(arguments.run_dir)
    elif (info := _info(arguments.run_dir)).axes:
        page, _ = sweep.render(arguments.run_dir)
    elif info.variants:
        page, _ = pairs.render(arguments.run_dir)
    else:
        page, _ = document.render(arguments.run_dir)
        if arguments.json:
            print(said.text(load(arguments.run_dir), page), flush=True)
            return
    if arguments.json:
        print(page.with_suffix(".json").read_text(encoding="utf-8"), end="", flush=True)
        return
    if arguments.explain is not None:
        explain.show(arguments.run_dir, arguments.explain)
    print(page, flush=True)


def _info(run_dir: Path) -> RunInfo:
    """What holds for the whole run, whose trials are not read."""
    with open_run(run_dir) as store:
        return store.info()


if __name__ == "__main__":
    sys.exit(guarded(main))
