"""`python -m reports.history METRIC`: a metric over the runs of the history, drawn and told."""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path

from harness.core.errors import ConfigError
from harness.core.metrics import METRICS
from harness.records.history.runs import History, open_history
from reports.history.sources import summaries


def main(argv: list[str] | None = None) -> None:
    """What changed, and the figure's path, on stdout. Raises HarnessError."""
    parser = argparse.ArgumentParser(prog="python -m reports.history.main")
    parser.add_argument("metric", metavar="METRIC")
    for flag in ("--history", "--name", "--path", "--workload"):
        parser.add_argument(flag)
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    checked_metric(given.metric)
    out = _file(Path(f"history-{given.metric}.png") if given.out is None else given.out)
    with open_history(given.history) as history:
        plot(history, given, out)


def plot(history: History, given: argparse.Namespace, out: Path) -> None:
    """Draw what was asked for into `out`, and print what changed. ConfigError if there is none."""
    from reports.history import trend, trendfigure  # late: matplotlib takes seconds

    found = summaries(history, history.entries(given.name)[::-1], [given.metric])
    runs = (summary for _, summary in found)
    panels = trend.panels(runs, given.metric, given.path, given.workload)
    if not panels:
        chosen = {"of series": given.name, "on path": given.path, "of workload": given.workload}
        message = "".join(f" {what} {value}" for what, value in chosen.items() if value)
        raise ConfigError(f"{history.where}: no run{message} has a figure of {given.metric}")
    trendfigure.draw(panels, given.metric, out)
    for line in trend.describe(panels, given.metric):
        print(line)
    print(f"figure: {out}")


def checked_metric(metric: str) -> str:
    """`metric` itself; ConfigError if there is none of that name."""
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS) or METRICS
        raise ConfigError(f"{metric!r} is no metric", remedy=f"choose from {', '.join(near)}")
    return metric


def _file(out: Path) -> Path:
    if out.suffix not in (".png", ".svg"):
        raise ConfigError(f"--out {out}: neither .png nor .svg")
    return out
