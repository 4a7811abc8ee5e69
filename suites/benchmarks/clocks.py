"""The table and the figure of what `test_clocks.py` measured: `python -m suites.benchmarks.clocks
DIR` reads launches.csv in DIR and writes clocks.md and clocks.png beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness import paths
from harness.core.metrics import METRICS
from reports.run import style

FILENAME = "launches.csv"
COLUMNS = ("clock", "busy", "launch", "path", "workload", "metric", "value")
PRIMARY = ("throughput", "rtt_p50", "exits_per_packet")
APART = 1.05
"""Paths closer than this may change places without anybody being misled."""

CONDITIONS = tuple((clock, busy) for clock in ("virtual-smp", "virtual", "wall") for busy in (0, 2))


def name_of(clock: str, busy: int) -> str:
    return f"{clock}, {'busy' if busy else 'quiet'}"


def variation(launches: pd.DataFrame) -> pd.DataFrame:
    """Coefficient of variation in per cent, over launches: a row a path, workload and metric, a
    column a condition. A figure that is zero throughout does not vary."""
    keys = ["metric", "workload", "path", "clock", "busy"]
    grouped = launches.groupby(keys)["value"]
    cv = (100 * grouped.std() / grouped.mean()).fillna(0.0)
    return cv.unstack(["clock", "busy"])


def reversals(launches: pd.DataFrame) -> pd.DataFrame:
    """In how many launches two paths, whose medians lie more than APART from one another, came
    the other way round: a row a metric and workload, a column a condition."""
    keys = ["metric", "workload", "clock", "busy"]
    found = {}
    for key, group in launches.groupby(keys):
        values = group.pivot_table(index="launch", columns="path", values="value")
        medians = values.median()
        wrong = pd.Series(False, index=values.index)
        for low, high in permutations(medians.index, 2):
            if medians[high] > APART * medians[low]:
                wrong |= values[high] < values[low]
        found[key] = int(wrong.sum())
    index = pd.MultiIndex.from_tuples(found, names=keys)
    return pd.Series(found.values(), index=index).unstack(["clock", "busy"])


def table(launches: pd.DataFrame) -> str:
    """Both as Markdown."""
    counts = launches.groupby(["clock", "busy"])["launch"].nunique()
    there = [each for each in CONDITIONS if each in counts.index]
    head = [f"{name_of(*each)} ({counts[each]})" for each in there]
    lines = [
        "# Do figures repeat?",
        "",
        "Coefficient of variation over launches, per cent (number of launches in brackets).",
        "",
        *rows(["metric", "workload", "path"], head, variation(launches)[there], "{:.2f}"),
        "",
        f"Launches in which two paths whose medians lie more than {100 * APART - 100:.0f} % apart "
        "came the other way round.",
        "",
        *rows(["metric", "workload"], head, reversals(launches)[there], "{:.0f}"),
    ]
    return "\n".join(lines) + "\n"


def rows(keys: list[str], head: list[str], frame: pd.DataFrame, form: str) -> list[str]:
    lines = [f"| {' | '.join((*keys, *head))} |", f"|{' --- |' * len(keys)}{' ---: |' * len(head)}"]
    for index, values in zip(frame.index, frame.to_numpy(), strict=True):
        cells = ["" if value != value else form.format(value) for value in values]
        lines.append(f"| {' | '.join((*map(str, index), *cells))} |")
    return lines


def figure(launches: pd.DataFrame) -> Figure:
    """Each launch as a dot, as a ratio to the median of its path, workload and condition."""
    keys = ["metric", "workload", "path", "clock", "busy"]
    colours = style.path_colours({path.name: path.facts.colour for path in paths.ALL})
    medians = launches.groupby(keys)["value"].transform("median")
    ratios = launches.assign(ratio=launches["value"] / medians).dropna()
    panels = ratios.groupby(["metric", "workload"], sort=False)
    there = set(ratios.groupby(["clock", "busy"]).groups)
    conditions = [each for each in CONDITIONS if each in there]
    drawn = Figure(
        figsize=(7.5, 1 + (0.5 + 0.25 * len(conditions)) * len(panels)), layout="constrained"
    )
    widest = max(1.25, 1.05 * ratios["ratio"].max(), 1.05 / ratios["ratio"].min())
    all_axes = drawn.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, ((metric, workload), group) in zip(all_axes, panels, strict=True):
        _panel(axes, group, conditions, colours)
        axes.set_xscale("log")
        axes.set_xlim(1 / widest, widest)
        axes.set_title(f"{METRICS[str(metric)].label}, {workload}", loc="left", size=9)
        axes.xaxis.set_major_locator(FixedLocator([0.1, 0.25, 0.5, 1, 2, 4, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    title = "Launches of one comparison: each as a ratio to its median"
    drawn.suptitle(title, size=10.5, weight="bold", x=0.01, ha="left")
    handles, labels = all_axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower left", ncols=6, frameon=False, fontsize=8)
    return drawn


def _panel(
    axes: Axes,
    ratios: pd.DataFrame,
    conditions: list[tuple[str, int]],
    colours: Mapping[str, str],
) -> None:
    """A row a condition, and in it a line of dots a path."""
    for row, (clock, busy) in enumerate(conditions):
        here = ratios[(ratios["clock"] == clock) & (ratios["busy"] == busy)]
        for place, (path, colour) in enumerate(colours.items()):
            dots = here[here["path"] == path]["ratio"]
            y = row + (place - len(colours) / 2) * 0.12
            label = path if row == 0 else None
            axes.plot(dots, [y] * len(dots), "o", ms=3, alpha=0.75, color=colour, label=label)
    axes.axvline(1, color=style.GREY, linewidth=0.6)
    for above in range(len(conditions) - 1):
        axes.axhline(above + 0.5, color=style.RULE, linewidth=0.6)
    axes.set_yticks(range(len(conditions)), [name_of(*each) for each in conditions], size=8)
    axes.set_ylim(len(conditions) - 0.5, -0.5)


def main(directory: Path) -> None:
    launches = pd.read_csv(directory / FILENAME)
    text = table(launches)
    (directory / "clocks.md").write_text(text)
    figure(launches).savefig(directory / "clocks.png", dpi=150, metadata={"Software": None})
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
