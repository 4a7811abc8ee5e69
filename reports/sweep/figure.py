"""The curves of a sweep: a figure for each workload and metric, the first axis to the right.

Lines are paths, panels the values of the other axes; of a single path lines are the values of the
second axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes

from harness.comparison.curves import Curve, values_along
from harness.core.metrics import metric_of
from harness.records.run import Run
from harness.stats import estimates
from harness.stats.estimates import Estimate
from reports.run import canvas, style
from reports.run.canvas import Data, Drawn, add_legend, empty_figure, plain, save, subtitle_of
from reports.run.svg import hint

_ROWS = 6  # of a panel's height, as panels of paths have them


def draw_all(data: Data, curves: Sequence[Curve], directory: Path) -> list[Drawn]:
    """Draw curves along one axis. OSError if a file cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    of: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        of.setdefault((curve.workload, curve.metric), []).append(curve)
    drawn = []
    with mpl.rc_context(canvas.RC):
        for (workload, metric), each in of.items():
            drawn.append(_draw(data, workload, metric, each, directory))
    return drawn


def _draw(
    data: Data, workload: str, metric: str, curves: Sequence[Curve], directory: Path
) -> Drawn:
    axis, values = curves[0].axis, values_along(data.run, curves[0].axis)
    panels: dict[str, list[tuple[str, Curve]]] = {}
    by_path = len({curve.path for curve in curves}) > 1
    for curve in curves:
        panel, line = _place(data.run, curve, by_path=by_path)
        panels.setdefault(panel, []).append((line, curve))
    lines = list(dict.fromkeys(line for each in panels.values() for line, _ in each))
    facts = {line: data.run.path_facts(line).colour if by_path else "" for line in lines}
    colours, markers = style.path_colours(facts), style.path_markers(lines)
    unit = data.unit(metric)
    title = f"{workload}: {metric_of(metric).label}, {unit}"
    legend = 1 + len(lines) // 2
    figure = empty_figure(
        title, subtitle_of(data, metric, "point"), [_ROWS] * len(panels), legend=legend
    )
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)
    for row, (panel, drawn) in zip(grid, panels.items(), strict=True):
        for line, curve in drawn:
            _line(row[0], curve, values, unit, line, colours[line], markers[line])
        row[0].set_title(panel, loc="left", size=9.5, style="italic", pad=3)
        plain(row[0])
        row[0].grid(True, axis="y", color=style.RULE, linewidth=0.6)
        row[0].yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda y, _: f"{y:,.10g}"))
    last = grid[-1][0]
    last.set_ylim(bottom=0)
    last.margins(x=0.08)
    places = _places(values)
    last.set_xticks(list(places.values()), list(places))
    last.set_xlabel(axis)
    handles, labels = grid[0][0].get_legend_handles_labels()
    if len(lines) > 1 or by_path:
        add_legend(figure, (handles, labels))
    name = f"{workload}-{metric}".replace("_", "-")
    save(figure, *(directory / f"{name}{kind}" for kind in canvas.WITHOUT))
    return Drawn(name, title, _caption(), _in_words(curves), figure.get_figheight())


def _place(run: Run, curve: Curve, *, by_path: bool) -> tuple[str, str]:
    """In which panel a curve is, and which line it is there."""
    held = [f"{name} = {value}" for name, value in curve.held.items()]
    if by_path:
        return ", ".join(held), curve.path
    line = held.pop(0) if held else curve.path
    return ", ".join([curve.path, *held] if len(run.info.axes) > 1 else held), line


def _places(values: Sequence[str]) -> Mapping[str, float]:
    """Where each value stands: by its size if it is a number, else one after the other."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(at) for at, value in enumerate(values)}


def _line(
    axes: Axes, curve: Curve, values: Sequence[str], unit: str, line: str, colour: str, marker: str
) -> None:
    places = _places(values)
    there = [(places[each.value], each, each.figure) for each in curve.points if each.figure]
    look: dict[str, Any] = {"color": colour, "linewidth": 1.6, "markersize": 6, "label": line}
    (made,) = axes.plot(
        [x for x, _, _ in there], [figure.value for _, _, figure in there], marker=marker,
        markeredgecolor="white", zorder=4, clip_on=False, **look,
    )  # fmt: skip
    told = [f"{line}, {curve.axis} {each.value}: {_told(f, unit)}" for _, each, f in there]
    hint(made, "", told)
    for x, each, figure in there:
        dash = ":" if figure.indicative else "-"
        axes.plot([x, x], [figure.low, figure.high], color=colour, linewidth=1.4, linestyle=dash)
        axes.plot(
            [x] * len(each.boots), list(each.boots.values()), "_", markersize=6, color=colour,
            alpha=0.5, linestyle="none", zorder=3, clip_on=False,
        )  # fmt: skip


def _told(figure: Estimate, unit: str) -> str:
    value, brackets = style.spread(figure)
    means = "lowest and highest boot" if figure.indicative else "95 % interval"
    return f"{value} {unit}, {means} {brackets}"


def _caption() -> str:
    return (
        "Marks: the estimate over boots; upright lines: its 95 % interval, dotted, with fewer than "
        f"{estimates.MIN_BLOCKS} boots, from the lowest boot to the highest; dashes: the boots. "
        "Lines between marks only lead the eye."
    )


def _in_words(curves: Sequence[Curve]) -> str:
    """ "virtio-vhost, guest-cpus 2: 8,012 at 1, 9,430 at 2"; the axis is in the figure's title."""
    return f"Along {curves[0].axis}: " + "; ".join(
        f"{', '.join([curve.path, *(f'{k} {v}' for k, v in curve.held.items())])}: "
        + ", ".join(
            f"{style.number(each.figure.value)} at {each.value}"
            for each in curve.points
            if each.figure
        )
        for curve in curves
    )
