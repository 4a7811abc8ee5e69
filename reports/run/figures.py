"""The figures of a run: one function each.

Every axis starts at zero except the latency's, which is logarithmic; every boot is visible as a
dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from harness.core.percentiles import BEYOND, resolved
from harness.stats import estimates
from reports.run import style
from reports.run.bars import exit_time_share, exits_per_packet, packet_time
from reports.run.canvas import (
    RC,
    WITHOUT,
    Data,
    Drawn,
    Made,
    add_legend,
    dots,
    empty_figure,
    figure_in_words,
    finish_panel,
    in_words,
    name_of_panel,
    panels_of,
    plain,
    save,
    subtitle_of,
    tell_row,
)
from reports.run.svg import hint


def draw_all(data: Data, directory: Path) -> list[Drawn]:
    """Draw every figure there is data for. OSError if a file cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    with mpl.rc_context(RC):
        for draw in _FIGURES:
            made = draw(data)
            if made is None:
                continue
            figure, entry = made
            save(figure, *(directory / f"{entry.name}{suffix}" for suffix in WITHOUT))
            drawn.append(entry)
    return drawn


def throughput(data: Data) -> Made:
    """Paths as points, one panel a workload (and direction, where it has two figures)."""
    title = f"Throughput, {data.run.unit('throughput')}"
    return _points(data, "throughput", title, _throughput_panels(data))


def _throughput_panels(data: Data) -> list[tuple[str, str]]:
    """(workload, metric): the two directions only where there is no single figure."""
    whole = {w for w in data.run.workloads if data.has(w, "throughput")}
    return [
        (workload, metric)
        for workload in data.run.workloads
        for metric in ("throughput", "throughput_tx", "throughput_rx")
        if data.has(workload, metric) and (metric == "throughput" or workload not in whole)
    ]


def transactions(data: Data) -> Made:
    """Paths as points, one panel a workload of requests and answers."""
    name = "transactions"
    panels = [(workload, name) for workload in data.run.workloads if data.has(workload, name)]
    return _points(data, name, f"Transactions, {data.run.unit(name)}", panels)


def cpu_per_gbit(data: Data) -> Made:
    """Host CPU time of a guest's threads per Gbit, one panel a workload that moves data in bulk."""
    bulk = {workload for workload, _ in _throughput_panels(data)}
    panels = [
        (workload, "cpu_per_gbit")
        for workload in data.run.workloads
        if data.has(workload, "cpu_per_gbit") and workload in bulk
    ]
    title = f"Host CPU time per Gbit on the wire, {data.run.unit('cpu_per_gbit')}"
    return _points(data, "cpu-per-gbit", title, panels)


def latency(data: Data) -> Made:
    """The share of round trips slower than x: a thick line a path, a thin one a boot."""
    if not data.rtts:
        return None
    title = "Latency: share of round trips slower than x"
    figure = empty_figure(title, subtitle_of(data, "rtt_p50"), [8], legend=3)
    axes = figure.subplots()
    colours, markers = style.colours_of(data.run), style.path_markers(data.run.paths)
    for path in (p for p in data.run.paths if p in data.rtts):
        for boot, rtts in data.rtts[path].items():
            _tail(
                axes, rtts, f"{path}, boot {boot}", points=100, color=colours[path], linewidth=0.7,
                alpha=0.4,
            )  # fmt: skip
        pooled = np.concatenate([*data.rtts[path].values()])
        marks: dict[str, Any] = {
            "marker": markers[path],
            "markersize": 6,
            "markeredgecolor": "white",
        }
        _tail(axes, pooled, path, color=colours[path], linewidth=2.0, label=path, **marks)
    if data.run.info.floor_ns:
        floor = data.run.info.floor_ns
        look: dict[str, Any] = {"color": style.INK, "linewidth": 1.2, "linestyle": ":"}
        _tail(axes, floor, "prober's floor", label="prober's floor", **look)
    axes.set(xscale="log", yscale="log", xlabel=f"round trip, {data.unit('rtt_p50')}")
    axes.set_ylim(top=1.3)
    low = axes.get_ylim()[0]
    ticks = [share for share in _SHARES if share >= low]
    axes.set_yticks(ticks, [_SHARES[tick] for tick in ticks])
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,g}"))
    axes.grid(True, color=style.RULE, linewidth=0.6)
    plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    ends = [np.asarray(line.get_xdata())[-1] for line in axes.get_lines() if line in handles]
    order = np.argsort(ends, kind="stable")
    add_legend(figure, ([handles[i] for i in order], [labels[i] for i in order]))
    caption = (
        "Each line gives, for a time x, the share of round trips that took at least that long. "
        f"Thick: all counted trials of a path; thin: its boots. A line ends where {BEYOND} are "
        "left; a probe without an answer counts as slower than the longest wait. The legend is in "
        "the order of the lines' right ends."
    )
    medians = [(w, "rtt_p50") for w in data.run.workloads if data.has(w, "rtt_p50")]
    told = f"Medians: {in_words(data, medians)}"
    return figure, Drawn("latency", title, caption, told, figure.get_figheight())


def _points(data: Data, name: str, title: str, panels: Sequence[tuple[str, str]]) -> Made:
    if not panels:
        return None
    colours = style.colours_of(data.run)
    rows = [data.paths_with(workload, metric) for workload, metric in panels]
    figure = empty_figure(title, subtitle_of(data, panels[0][1]), [len(paths) for paths in rows])
    for axes, (workload, metric), paths in zip(panels_of(figure, rows), panels, rows, strict=True):
        for y, path in enumerate(paths):
            key = (path, workload, metric)
            found = data.found[key]
            tell_row(axes, y, figure_in_words(data, key))
            look: dict[str, Any] = (
                {"linestyle": ":", "linewidth": 1.4} if found.indicative else {"linewidth": 2.2}
            )
            axes.plot([found.low, found.high], [y, y], color=colours[path], **look)
            axes.plot(found.value, y, "|", color=colours[path], markersize=14, markeredgewidth=2.6)
            dots(axes, data, key, y + 0.3, colours[path])
        finish_panel(axes, name_of_panel(workload, metric), paths)
    caption = (
        "Tick: the estimate over boots; line: its 95 % interval; dotted line, with fewer than "
        f"{estimates.MIN_BLOCKS} boots: from the lowest boot to the highest; dots: the boots."
    )
    return figure, Drawn(name, title, caption, in_words(data, panels), figure.get_figheight())


_SHARES = {1.0: "all", 0.5: "half", 0.1: "10 %", 0.01: "1 %", 0.001: "0.1 %", 1e-4: "0.01 %"}
"""Of round trips, as they are written at the axis and told of a line."""


def _tail(axes: Axes, rtts: ArrayLike, name: str, points: int = 200, **look: Any) -> None:
    """Share of `rtts` (ns) that are at least x, thinned to what the eye can tell apart; down to the
    share of BEYOND of them, below which it is chance. Marked and told are shares that it has."""
    data = np.sort(np.asarray(rtts, dtype=np.float64)) / 1000
    count = len(data)
    ranks = np.unique(count - np.geomspace(count, min(BEYOND, count), points).round().astype(int))
    shares = (count - ranks) / count
    marked = {
        int(np.abs(shares - share).argmin()): words
        for share, words in _SHARES.items()
        if share < 1 and resolved(1 - share, count)
    }
    (line,) = axes.step(data[ranks], shares, where="pre", markevery=sorted(marked), **look)
    told = [
        f"{words} took {style.number(float(data[ranks[at]]))} {style.unit('us')} or longer"
        for at, words in sorted(marked.items())
    ]
    hint(line, "; ".join((name, *told)), [f"{name}: {words}" for words in told])


_FIGURES = (
    exits_per_packet,
    exit_time_share,
    throughput,
    transactions,
    cpu_per_gbit,
    latency,
    packet_time,
)
"""In the order of the answers with which a report begins."""
