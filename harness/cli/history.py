"""`nicproof history`: what was made: list, plot, show, take in, give out, forget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.cli.parser import Commands, add_json, command, print_json
from harness.core.errors import ConfigError
from harness.core.flags import nonempty
from harness.core.metrics import PRIMARY
from harness.core.plain import plain
from harness.records import series
from harness.runs.suite import exec_module

if TYPE_CHECKING:  # SQLAlchemy takes a while, which `nicproof --help` need not wait for
    from harness.records.history.exchange import Line
    from harness.records.history.qualifications import QualificationEntry
    from harness.records.history.runs import History, RunEntry

    Entry = RunEntry | QualificationEntry

LAST = 500
"""Runs of a series that `history site` looks at: more than a chart has room for."""

EXAMPLES = """\
examples:
  nicproof history                                all runs, the newest first
  nicproof history list --name main --json
  nicproof history plot throughput --name main    a metric over time, and where it changed
  nicproof history plot rtt_p50 --path sriov --out rtt.svg
  nicproof history qualifications                 what `nicproof qualify` found
  nicproof history site public/nicproof           pages for a team: trends, cases, a feed of changes
  nicproof history import results/*               runs from their directories
  nicproof history export all.jsonl.gz            to take to another machine, and import there
  nicproof history export two.jsonl main 3f9a1c07
  nicproof history forget 20261123-101500-7f3a

A run is named by its series (its newest run is meant), its id, or the beginning of its digest.
WHERE is a file or postgresql://user@host/database.

exit status: 0 all went well, 1 the disk or the server failed, 2 wrong usage or a damaged
history, 4 a fault of nicproof's own
"""


def add_parser(commands: Commands) -> None:
    """Register `nicproof history`."""
    parser = _parser(
        commands, "history", "the runs that were made: list, plot, site, import, export, forget"
    )
    _add_common(parser, list_runs, default=None)
    parser.add_argument("--name", metavar="NAME", help='only runs of this series; "": of none')
    add_json(parser, "print the list as JSON")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND")
    listing = _verb(verbs, "list", "the runs, newest first", list_runs)
    _add_name(listing, 'only runs of this series; "": of none')
    add_json(listing, "print the list as JSON", default=argparse.SUPPRESS)
    qualified = _verb(
        verbs, "qualifications", "the qualifications, newest first", list_qualifications
    )
    add_json(qualified, "print the list as JSON", default=argparse.SUPPRESS)
    _add_plot(verbs)
    _add_site(verbs)
    importing = _verb(verbs, "import", "take runs in", import_runs)
    importing.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        type=nonempty,
        help="a run's or a qualification's directory, or a file that export made",
    )
    _add_name(importing, "the series they shall belong to, instead of their own")
    exporting = _verb(verbs, "export", "write runs into a file of JSON lines", export_runs)
    exporting.add_argument(
        "file", metavar="FILE", type=nonempty, help="compressed if it ends in .gz"
    )
    exporting.add_argument(
        "what", nargs="*", metavar="WHAT", type=nonempty, help="the runs (default: all)"
    )
    forgetting = _verb(verbs, "forget", "remove a run; its directory stays", forget_run)
    forgetting.add_argument("what", metavar="WHAT", type=nonempty, help="the run")


def _add_plot(verbs: Commands) -> None:
    plot = _verb(verbs, "plot", "draw a metric over time, and say where it changed", plot_metric)
    plot.add_argument(
        "metric",
        metavar="METRIC",
        type=nonempty,
        help="e.g. throughput, rtt_p50, exits_per_packet",
    )
    plot.add_argument("--path", metavar="PATH", type=nonempty, help="only this path")
    plot.add_argument("--workload", metavar="WORKLOAD", type=nonempty, help="only this workload")
    _add_name(plot, 'only runs of this series; "": of none')
    plot.add_argument(
        "--out",
        metavar="FILE",
        type=nonempty,
        help="a .png or .svg (default history-METRIC.png, here)",
    )


def _add_site(verbs: Commands) -> None:
    site = _verb(verbs, "site", "write pages for a browser, and a feed of what changed", make_site)
    site.add_argument(
        "directory",
        metavar="DIR",
        type=nonempty,
        help="new, empty, or a site that is then replaced",
    )
    _add_name(site, 'only runs of this series; "": of none')
    site.add_argument(
        "--metrics",
        metavar="NAMES",
        type=nonempty,
        help=f"comma-separated metrics (default: {','.join(PRIMARY)})",
    )
    site.add_argument(
        "--last",
        metavar="N",
        type=int,
        default=LAST,
        help=f"so many runs of each NIC, host and series, the newest (default {LAST})",
    )
    site.add_argument(
        "--url",
        metavar="URL",
        type=nonempty,
        help="where the site is served, which a feed's readers have to know",
    )


def _verb(
    verbs: Commands,
    name: str,
    help: str,
    handler: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = _parser(verbs, name, help)
    _add_common(parser, handler, default=argparse.SUPPRESS)  # what stands before the verb holds
    return parser


def _parser(commands: Commands, name: str, help: str) -> argparse.ArgumentParser:
    return command(
        commands,
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=EXAMPLES,
    )


def _add_common(
    parser: argparse.ArgumentParser, handler: Callable[[argparse.Namespace], int], default: Any
) -> None:
    parser.add_argument(
        "--history",
        metavar="WHERE",
        type=nonempty,
        default=default,
        help="where it is (default $NICPROOF_HISTORY, else ~/.local/share/nicproof/history.db)",
    )
    parser.set_defaults(handler=handler)


def _add_name(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--name", metavar="NAME", default=argparse.SUPPRESS, help=help)


def list_runs(given: argparse.Namespace) -> int:
    """Handler of `history list`."""
    from harness.records.history.runs import open_history

    with open_history(given.history) as history:
        entries = history.entries(given.name)
    if given.json:
        print_json(entries)
    elif entries:
        _print(entries)
    else:
        series_of = f" of series {given.name}" if given.name else ""
        print(f"no run{series_of} in {history.where}; `nicproof bench` adds one")
    return 0


def _print(entries: tuple[RunEntry, ...]) -> None:
    from harness.records.history.base import DIGITS

    headings = ("name", "run", "digest", "fidelity", "host", "NIC", "boots", "valid", "")
    rows = (
        (
            entry.name or "-",
            entry.run,
            entry.digest[:DIGITS],
            f"{entry.fidelity}, {entry.clock}",
            entry.host,
            entry.nic.split()[0],
            str(entry.boots),
            f"{entry.valid}/{entry.trials}",
            "" if entry.finished else "unfinished",
        )
        for entry in entries
    )
    _print_table(headings, rows)


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for cells in rows:
        table.add_row(*map(plain, cells))
    width = None if sys.stdout.isatty() else 200  # no folding in what another program reads
    Console(markup=False, highlight=False, width=width).print(table)


def list_qualifications(given: argparse.Namespace) -> int:
    """Handler of `history qualifications`."""
    from harness.records.history.base import DIGITS
    from harness.records.history.qualifications import COUNTS
    from harness.records.history.runs import open_history

    with open_history(given.history) as history:
        entries = history.qualifications.entries()
    if given.json:
        print_json(entries)
        return 0
    if not entries:
        print(f"no qualification in {history.where}; `nicproof qualify` adds one")
        return 0
    headings = ("run", "digest", "fidelity", "host", "NIC", "version", *COUNTS.values(), "")
    rows = (
        (
            entry.run,
            entry.digest[:DIGITS],
            f"{entry.fidelity}, {entry.clock}",
            entry.host,
            entry.nic,
            entry.version,
            *(str(getattr(entry, count)) for count in COUNTS),
            "" if entry.finished else "unfinished",
        )
        for entry in entries
    )
    _print_table(headings, rows)
    return 0


def plot_metric(given: argparse.Namespace) -> int:
    """Handler of `history plot`."""
    options = {
        "--history": given.history, "--path": given.path, "--workload": given.workload,
        "--name": given.name, "--out": given.out,
    }  # fmt: skip
    _exec("reports.history", given.metric, options)


def make_site(given: argparse.Namespace) -> int:
    """Handler of `history site`."""
    if given.last < 1:
        raise ConfigError(f"--last {given.last}: a series has one run at least")
    options = {
        "--history": given.history, "--name": given.name, "--metrics": given.metrics,
        "--last": given.last, "--url": given.url,
    }  # fmt: skip
    _exec("reports.site", given.directory, options)


def _exec(module: str, first: str, options: Mapping[str, object]) -> NoReturn:
    """Become a report of the history, with the options that were given."""
    arguments = [f"{flag}={value}" for flag, value in options.items() if value is not None]
    exec_module(module, [*arguments, "--", first])


def import_runs(given: argparse.Namespace) -> int:
    """Handler of `history import`: one path that is no good does not keep the others out."""
    from harness.records.history.runs import open_history

    name = None if given.name is None else series.checked(given.name)
    status = 0
    with open_history(given.history) as history:
        for path in map(Path, given.paths):
            try:
                for line in _take_in(history, path, name):
                    print(line, flush=True)
            except ConfigError as error:
                print(f"nicproof: {error}", file=sys.stderr)
                status = 2
    return status


def _take_in(history: History, path: Path, name: str | None) -> Iterator[str]:
    """Add the runs and qualifications of a path, and say of each what became of it."""
    from harness.records.history import exchange

    directory = path.resolve() if path.is_dir() else None
    for line in exchange.read(path):
        try:
            there, entry = _added(history, line, name, directory)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", remedy=error.remedy) from error
        yield f"{'there already' if there else 'new':<14}{label(entry)}"


def _added(
    history: History, line: Line, name: str | None, directory: Path | None
) -> tuple[bool, Entry]:
    """Was it there already; and its entry."""
    from harness.records.history.exchange import QualificationLine

    if isinstance(line, QualificationLine):
        there = history.qualifications.known(line.digest_found) is not None
        return there, history.qualifications.add(line.subject, line.cases, directory)
    there = history.known(line.digest_found) is not None
    series_of = line.name if name is None else name
    return there, history.add(line.info, line.trials, series_of, directory)


def _find(history: History, what: str) -> Entry:
    """The run, or else the qualification, that is meant; ConfigError if there is none, or more."""
    try:
        return history.find(what)
    except ConfigError:
        matching = history.qualifications.matching(what)
        if len(matching) != 1:
            raise
        return matching[0]


def export_runs(given: argparse.Namespace) -> int:
    """Handler of `history export`."""
    from harness.records.history import exchange
    from harness.records.history.runs import open_history

    with open_history(given.history) as history:
        chosen: list[Entry] = [_find(history, what) for what in given.what]
        if not given.what:
            chosen = [*history.entries()[::-1], *history.qualifications.entries()[::-1]]
        exchange.write(Path(given.file), history, chosen)
    print(f"{given.file}: {len(chosen)} run{'' if len(chosen) == 1 else 's'}")
    return 0


def forget_run(given: argparse.Namespace) -> int:
    """Handler of `history forget`."""
    from harness.records.history.runs import open_history

    with open_history(given.history) as history:
        entry = _find(history, given.what)
        history.forget(entry.digest)
    print(f"forgotten: {label(entry)}")
    return 0


def label(entry: Entry) -> str:
    """A run in a line: "20261123-101500-7f3a as main, 3f9a1c07"."""
    from harness.records.history.base import DIGITS
    from harness.records.history.runs import RunEntry

    named = f" as {entry.name}" if isinstance(entry, RunEntry) and entry.name else ""
    what = "" if isinstance(entry, RunEntry) else ", a qualification"
    return f"{entry.run}{named}, {entry.digest[:DIGITS]}{what}"
