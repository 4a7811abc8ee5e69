"""What all figures of a run are made of: their data, a canvas with panels, how it is saved.

Narrow, with large type, so that they can be read on a phone as well as on paper. Nothing of
matplotlib's global state is used.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.core.metrics import Grounds, metric_of
from harness.records.run import Run
from harness.stats import estimates
from reports.run import style
from reports.run.svg import hint, with_titles
from reports.run.tables import Estimates

WIDTH = 4.6  # inches
_SUBTITLE_CHARACTERS = 64  # in one line
_LEGEND_CHARACTERS = 66  # what a line of the legend holds, 6 of them for each entry's key
_GROUNDS: dict[Grounds, str] = {
    "silicon": "",
    "software": ", virtual clock: evidence for the software path",
    "lab": ": not evidence for silicon",
}
RC: dict[Any, Any] = {  # matplotlib types its keys one by one
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "text.color": style.INK,
    "axes.edgecolor": style.GREY,
    "axes.labelcolor": style.INK,
    "xtick.color": style.GREY,
    "ytick.color": style.INK,
    "hatch.linewidth": 0.7,
    "svg.hashsalt": "nicproof",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Drawn:
    """A figure on disk: `name`.png and `name`.svg in the run's figures directory."""

    name: str
    title: str
    caption: str
    figures: str  # what it shows, in words, for who does not see it
    height: float  # inches

    @property
    def text(self) -> str:
        """Instead of the figure."""
        return f"{self.title}. {self.figures}"


@dataclass(frozen=True)
class Data:
    """What the figures draw."""

    run: Run
    boots: pd.DataFrame  # frames.per_boot
    exits: pd.DataFrame  # frames.exits_per_boot
    rtts: Mapping[str, Mapping[int, np.ndarray]]  # path -> boot -> frames.round_trips
    found: Estimates

    def has(self, workload: str, metric: str) -> bool:
        """Was it measured on any path?"""
        return any(self.values(path, workload, metric) for path in self.run.paths)

    def paths_with(self, workload: str, metric: str) -> list[str]:
        """Those where it was measured."""
        return [path for path in self.run.paths if self.values(path, workload, metric)]

    def values(self, path: str, workload: str, metric: str) -> list[float]:
        """One a boot; none if it was not measured."""
        return [value for _, value in self.by_boot(path, workload, metric)]

    def by_boot(self, path: str, workload: str, metric: str) -> list[tuple[int, float]]:
        """(boot, value)."""
        return self._by_boot.get((path, workload, metric), [])

    @cached_property
    def _by_boot(self) -> dict[Any, list[tuple[int, float]]]:
        groups = self.boots.groupby(["path", "workload", "metric"], sort=False)[["boot", "value"]]
        return {
            key: list(zip(rows["boot"].tolist(), rows["value"].tolist(), strict=True))
            for key, rows in groups
        }

    def unit(self, metric: str) -> str:
        """As it is printed."""
        return style.unit(self.run.unit(metric))


WITHOUT = {".png": "Software", ".svg": "Date"}
"""What a file says of its making, and would differ each time."""


def save(figure: Figure, *files: Path) -> None:
    """Write a figure as .png or .svg, the same each time. OSError if that cannot be done."""
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    # Laid out once is enough for all files. With any engine, "none" too, matplotlib would draw each
    # twice.
    figure.set_layout_engine(None)
    for file in files:
        made, metadata = io.BytesIO(), {WITHOUT[file.suffix]: None}
        figure.savefig(made, format=file.suffix.removeprefix("."), dpi=200, metadata=metadata)
        if file.suffix == ".svg":
            file.write_text(with_titles(made.getvalue().decode()), encoding="utf-8")
        else:
            file.write_bytes(made.getvalue())


Made = tuple[Figure, Drawn] | None


def in_words(data: Data, panels: Iterable[tuple[str, str]]) -> str:
    """ "tcp-tx: native 8,491, sriov 8,312; tcp-rx: ..." of (workload, metric)."""

    def figures(workload: str, metric: str) -> str:
        return ", ".join(
            f"{path} {style.number(data.found[path, workload, metric].value)}"
            for path in data.paths_with(workload, metric)
        )

    return "; ".join(
        f"{name_of_panel(workload, metric)}: {figures(workload, metric)}"
        for workload, metric in panels
    )


Key = tuple[str, str, str]
"""(path, workload, metric)."""


def dots(axes: Axes, data: Data, key: Key, y: float, colour: str) -> None:
    """Boots side by side around a row, so that equal ones do not hide one another."""
    boots = data.by_boot(*key)
    offsets = np.linspace(-0.12, 0.12, len(boots)) if len(boots) > 1 else [0.0]
    (made,) = axes.plot(
        [value for _, value in boots], [y + float(o) for o in offsets], "o", markersize=3.6,
        markerfacecolor="white", markeredgecolor=colour, markeredgewidth=0.9, linestyle="none",
        clip_on=False, zorder=5,
    )  # fmt: skip
    path, _, metric = key
    unit = data.unit(metric)
    hint(made, "", [f"{path}, boot {boot}: {style.number(value)} {unit}" for boot, value in boots])


def tell_row(axes: Axes, y: float, text: str) -> None:
    """Hovering anywhere over a row tells `text`, but over a mark of its own."""
    hint(axes.axhspan(y - 0.5, y + 0.5, facecolor="none", edgecolor="none"), text)


def figure_in_words(data: Data, key: Key) -> str:
    """ "sriov: 8,312 Mbit/s, 95 % interval [8,290, 8,341]"."""
    path, _, metric = key
    found = data.found[key]
    value, brackets = style.spread(found)
    means = "lowest and highest boot" if found.indicative else "95 % interval"
    return f"{path}: {value} {data.unit(metric)}, {means} {brackets}"


def empty_figure(title: str, subtitle: str, rows: Sequence[int], legend: int = 0) -> Figure:
    """An empty figure, high enough for panels of so many rows, its title at the top left."""
    title = fill(title, 46)
    head = 0.16 + 0.2 * (title.count("\n") + 1) + 0.17 * (subtitle.count("\n") + 1)
    height = head + sum(0.62 + 0.3 * n for n in rows) + 0.24 * legend
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 1, 1 - head / height))  # type: ignore[call-arg]
    figure.text(0.012, 1 - 0.07 / height, title, weight="bold", size=10.5, va="top")
    below = 1 - (0.1 + 0.2 * (title.count("\n") + 1)) / height
    figure.text(0.012, below, subtitle, size=8.5, color=style.GREY, va="top")
    return figure


def panels_of(figure: Figure, rows: Sequence[Sequence[str]]) -> list[Axes]:
    heights = [len(paths) + 0.9 for paths in rows]
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)
    return [axes for line in grid for axes in line]


def finish_panel(axes: Axes, name: str, paths: Sequence[str]) -> None:
    """Finish a panel whose rows are paths, the first on top, and whose x axis starts at zero."""
    axes.set_yticks(range(len(paths)), list(paths))
    axes.set_ylim(len(paths) - 0.45, -0.55)
    axes.set_xlim(0, (axes.get_xlim()[1] or 1) * 1.02)
    axes.set_title(name, loc="left", size=9.5, color=style.INK, style="italic", pad=3)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axes.grid(True, axis="x", color=style.RULE, linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    plain(axes)


def plain(axes: Axes) -> None:
    """Without a box around, and with the grid behind."""
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def add_legend(figure: Figure, entries: tuple[Sequence[Artist], Sequence[str]]) -> None:
    """Below the panels, its entries row by row in their order."""
    handles, labels = entries
    columns = max(1, _LEGEND_CHARACTERS // (max(map(len, labels), default=0) + 6))
    # matplotlib fills column by column.
    order = [i for column in range(columns) for i in range(column, len(labels), columns)]
    figure.legend([handles[i] for i in order], [labels[i] for i in order],
                  loc="outside lower left", ncols=columns, frameon=False, fontsize=9,
                  handlelength=1.4, columnspacing=1.2)  # fmt: skip


def subtitle_of(data: Data, metric: str, of: str = "path") -> str:
    """What a reader must know before believing a figure, of which so many boots are `of` each."""
    info = data.run.info
    boots = data.boots.groupby(["path", "workload"])["boot"].nunique()
    fewest, most = int(boots.min()), int(boots.max())
    better = {"lower": "less is better", "higher": "more is better", "none": ""}
    parts: list[str] = [better[metric_of(metric).better]]
    if fewest < estimates.MIN_BLOCKS:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        parts.append(f"indicative: {count} boot{'s' if most > 1 else ''} a {of}")
    else:
        parts.append(f"{fewest if fewest == most else f'{fewest} to {most}'} boots a {of}")
    fidelity = info.fidelity + _GROUNDS[data.run.grounds(metric)]
    text = " · ".join(filter(None, parts))
    joint = " · " if len(text) + len(fidelity) + 3 <= _SUBTITLE_CHARACTERS else "\n"
    return text + joint + fidelity


def name_of_panel(workload: str, metric: str) -> str:
    ways = {"throughput_tx": ", from the guest", "throughput_rx": ", to the guest"}
    return workload + ways.get(metric, "")
