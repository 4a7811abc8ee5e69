"""The figure of a metric over the runs of a history: a row a path, a column a workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.core.errors import LabError
from harness.core.metrics import metric_of
from harness.stats.levels import step
from reports.history.trend import Panel, left_out
from reports.run import canvas, style

COLUMN, ROW = 4.2, 1.6  # inches; a column is as wide as the report's figures
_CHARACTERS = 15  # of the note, in an inch
_TICKS = 3
WORSE = "#b3261e"


def draw(panels: Sequence[Panel], metric: str, file: Path) -> None:
    """Draw into `file`, a .png or .svg. LabError if it cannot be written."""
    with mpl.rc_context(canvas.RC):
        figure = _figure(panels, metric)
        try:
            canvas.save(figure, file)
        except OSError as error:
            raise LabError(
                f"{file}: cannot write the figure: {error.strerror}", remedy="name another by --out"
            ) from error


def _figure(panels: Sequence[Panel], metric: str) -> Figure:
    paths = list(dict.fromkeys(panel.path for panel in panels))
    workloads = list(dict.fromkeys(panel.workload for panel in panels))
    width = canvas.WIDTH + COLUMN * (len(workloads) - 1)
    note = "\n".join(fill(line, int(_CHARACTERS * width)) for line in _note(panels, metric))
    head = 0.55 + 0.17 * note.count("\n")
    height = head + 0.2 + ROW * len(paths)
    figure = Figure(figsize=(width, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 1, 1 - head / height))  # type: ignore[call-arg]
    title = f"{metric_of(metric).label}: run by run"
    figure.text(0.05 / width, 1 - 0.07 / height, title, weight="bold", size=10.5, va="top")
    figure.text(0.05 / width, 1 - 0.3 / height, note, size=8.5, color=style.GREY, va="top")
    _fill(figure, panels, paths, workloads, metric)
    return figure


def _fill(
    figure: Figure,
    panels: Sequence[Panel],
    paths: Sequence[str],
    workloads: Sequence[str],
    metric: str,
) -> None:
    grid = figure.subplots(len(paths), len(workloads), squeeze=False, sharex=True)
    colours = style.path_colours({panel.path: panel.colour for panel in panels})
    points = {point.place: point for panel in panels for point in panel.points}
    places = {place: x for x, place in enumerate(sorted(points))}
    lowest = {
        panel.workload: panel.path for panel in sorted(panels, key=lambda p: paths.index(p.path))
    }
    for axes in grid.flat:
        axes.set_visible(False)
    for panel in panels:
        axes = grid[paths.index(panel.path)][workloads.index(panel.workload)]
        axes.set_visible(True)
        _panel(axes, panel, places, colours[panel.path])
        _changes(axes, panel, places, metric)
        _dates(axes, [points[place].created for place in sorted(points)])
        axes.tick_params(axis="x", labelbottom=lowest[panel.workload] == panel.path)


def _panel(axes: Axes, panel: Panel, places: Mapping[int, int], colour: str) -> None:
    for point in panel.points:
        x = places[point.place]
        axes.plot([x, x], [point.low, point.high], color=colour, linewidth=1.4, alpha=0.45)
        face = colour if point.finished else "white"
        axes.plot(x, point.value, "o", markersize=4.2, markerfacecolor=face,
                  markeredgecolor=colour, markeredgewidth=0.9, zorder=5)  # fmt: skip
    for level in panel.levels:
        ends = (places[panel.points[index].place] for index in (level.first, level.last))
        axes.plot([next(ends) - 0.4, next(ends) + 0.4], [level.value] * 2, color=style.INK,
                  linewidth=0.9, zorder=4)  # fmt: skip
    axes.set_title(f"{panel.path}, {panel.workload}", loc="left", size=9.5, color=style.INK,
                   style="italic", pad=3)  # fmt: skip
    axes.set_ylabel(style.unit(panel.unit), size=8.5, color=style.GREY)
    axes.margins(x=0.03, y=0.12)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.22 * (high - low))  # room for what is written at a change
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:,.10g}"))
    axes.grid(True, axis="y", color=style.RULE, linewidth=0.6)
    canvas.plain(axes)


def _changes(axes: Axes, panel: Panel, places: Mapping[int, int], metric: str) -> None:
    """A line before the first run of each new level, and the step in per cent beside it."""
    better = {"higher": 1, "lower": -1, "none": 0}[metric_of(metric).better]
    for number, (before, after) in enumerate(panel.changes):
        first, last = (places[panel.points[i].place] for i in (after.first, before.last))
        x = (first + last) / 2
        axes.axvline(x, color=style.GREY, linewidth=0.9, linestyle=(0, (4, 2)))
        worse = better * (after.value - before.value) < 0
        inwards = -1 if x > 0.85 * max(places.values()) else 1
        axes.annotate(
            step(before, after), (x, 1), xycoords=("data", "axes fraction"),
            xytext=(3 * inwards, -1 - 10 * (number % 2)), textcoords="offset points",
            ha="left" if inwards > 0 else "right", va="top", size=8.5, weight="bold",
            color=WORSE if worse else style.INK,
        )  # fmt: skip


def _dates(axes: Axes, created: Sequence[str]) -> None:
    """Runs stand side by side, however long there was none; a few have their day below them."""
    last = len(created) - 1
    ticks = sorted({round(last * i / (_TICKS - 1)) for i in range(_TICKS)})
    axes.set_xticks(ticks, [created[tick][:10] for tick in ticks], size=8.5)
    axes.set_xlim(-0.7, last + 0.7)


def _note(panels: Sequence[Panel], metric: str) -> list[str]:
    """What a reader must know before believing the figure."""
    better = {"lower": "less is better", "higher": "more is better", "none": ""}
    runs = len({point.place for panel in panels for point in panel.points})
    first = [
        better[metric_of(metric).better],
        f"{runs} run{'' if runs == 1 else 's'}",
        "axes do not start at zero",
    ]
    return [
        " · ".join(filter(None, first)),
        "dot: a run's median over boots (hollow: unfinished, of no level)",
        "bar: lowest to highest boot; red: a step for the worse",
        "dashed: a step that the runs' own wandering does not explain; up to one flat series in 15 "
        "has one all the same",
        *left_out(panels),
    ]
