"""The figures: one function each, drawn on matplotlib's own canvas without any global state.

Narrow, with large type, so that they can be read on a phone as well as on paper. Every
axis starts at zero except the latency's, which is logarithmic; every boot is visible as a dot.
"""

from __future__ import annotations

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
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from harness.core.metrics import Grounds, is_idle, metric_of
from harness.core.percentiles import BEYOND
from harness.core.units import is_virtual
from harness.records.run import Run
from harness.records.trial import IDLE
from harness.stats import estimates
from reports.run import explain, style
from reports.run.tables import Estimates

WIDTH = 4.6  # inches
_REASONS_SHOWN = 8
_HALTING = "halting"
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
    "axes.edgecolor": style.GREY,
    "axes.labelcolor": style.INK,
    "xtick.color": style.GREY,
    "ytick.color": style.INK,
    "hatch.linewidth": 0.7,
    "svg.hashsalt": "nicproof",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Drawn:
    """A figure on disk: `name`.png and `name`.svg in the run's figures directory."""

    name: str
    title: str
    caption: str
    figures: str  # what it shows, in words, for who does not see it

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
        return self._values.get((path, workload, metric), [])

    @cached_property
    def _values(self) -> dict[Any, list[float]]:
        groups = self.boots.groupby(["path", "workload", "metric"], sort=False)["value"]
        return {key: values.tolist() for key, values in groups}


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
            save(figure, *(directory / f"{entry.name}{suffix}" for suffix in _WITHOUT))
            drawn.append(entry)
    return drawn


_WITHOUT = {".png": "Software", ".svg": "Date"}
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
        figure.savefig(file, dpi=200, metadata={_WITHOUT[file.suffix]: None})


Made = tuple[Figure, Drawn] | None


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


def exits_per_packet(data: Data) -> Made:
    """VM exits per packet on the wire, stacked by reason."""
    return _stacked(
        data,
        "exits-per-packet",
        "VM exits per packet on the wire, by reason",
        "exits_per_packet",
        "per_packet",
    )


def exit_time_share(data: Data) -> Made:
    """CPU time spent in exits as a share of the vCPUs' time, stacked by reason; halting apart."""
    return _stacked(
        data,
        "exit-time-share",
        "CPU time in VM exits by reason, % of the vCPUs' time",
        "exit_time_share",
        "share",
        apart="halt_time_share",
    )


ONE_CPU = "The lab has one CPU, so these are all of the window."

SEVERAL_CPUS = (
    "The vCPU, vhost and QEMU have a CPU each and work at the same time, so the longest of the "
    "three limits the rate, and what is left of the window is not known."
)


def packet_time(data: Data) -> Made:
    """Where the time of a packet goes, by the virtual clock."""
    panels = [w for w in data.run.workloads if data.has(w, "guest_time_per_packet")]
    if not panels or not is_virtual(data.run.info.clock):
        return None
    title = f"Where the time of a packet goes, {style.unit(data.run.unit('guest_time_per_packet'))}"
    rows = [data.paths_with(workload, "guest_time_per_packet") for workload in panels]
    found = {metric for _, _, metric in data.found}
    fills = {
        metric: fill
        for metric, fill in zip(explain.PARTS, style.PARTS, strict=True)
        if metric in found
    }
    subtitle = _subtitle(data, "guest_time_per_packet")

    def paced(workload: str) -> bool:
        return data.run.workload_facts(workload).paced

    figure = _figure(title, subtitle, [len(paths) for paths in rows], legend=1)
    for axes, workload, paths in zip(_axes(figure, rows), panels, rows, strict=True):
        shown = [m for m in fills if m != explain.REST or not paced(workload)]
        here = [{m: data.found.get((path, workload, m)) for m in shown} for path in paths]
        parts = [{m: each.value for m, each in row.items() if each is not None} for row in here]
        _bars(axes, [sum(each.values()) for each in parts], parts, fills)
        _rows(axes, workload, paths)
    _legend(figure, (_patches(fills.values()), [explain.PARTS[m] for m in fills]))
    several = data.run.info.clock == "virtual-smp"
    caption = f"{explain.MEANS} {SEVERAL_CPUS if several else ONE_CPU}"
    if pausing := ", ".join(filter(paced, panels)):
        caption += (
            f" Where traffic is paced ({pausing}) the rest is mostly the pauses, and is left out."
        )
    words = "; ".join(f"{w}: {_parts_in_words(data, w, fills)}" for w in panels)
    return figure, Drawn("packet-time", title, caption, words)


def _parts_in_words(data: Data, workload: str, metrics: Iterable[str]) -> str:
    """ "sriov guest 1.62, exits 0.05; e1000e ..." of a workload."""
    values = {
        path: [(explain.PARTS[m], data.found.get((path, workload, m))) for m in metrics]
        for path in data.paths_with(workload, "guest_time_per_packet")
    }
    return "; ".join(
        f"{path} {', '.join(f'{n} {style.number(e.value)}' for n, e in parts if e is not None)}"
        for path, parts in values.items()
    )


def latency(data: Data) -> Made:
    """The share of round trips slower than x: a thick line a path, a thin one a boot."""
    if not data.rtts:
        return None
    title = "Latency: share of round trips slower than x"
    figure = _figure(title, _subtitle(data, "rtt_p50"), [8], legend=3)
    axes = figure.subplots()
    colours, markers = style.colours_of(data.run), style.path_markers(data.run.paths)
    for path in (p for p in data.run.paths if p in data.rtts):
        for boot in data.rtts[path].values():
            _tail(axes, boot, points=100, color=colours[path], linewidth=0.7, alpha=0.4)
        pooled = np.concatenate([*data.rtts[path].values()])
        marks: dict[str, Any] = {
            "marker": markers[path],
            "markersize": 6,
            "markeredgecolor": "white",
        }
        _tail(axes, pooled, color=colours[path], linewidth=2.0, label=path, **marks)
    if data.run.info.floor_ns:
        floor = data.run.info.floor_ns
        _tail(axes, floor, color=style.INK, linewidth=1.2, linestyle=":", label="prober's floor")
    axes.set(
        xscale="log", yscale="log", xlabel=f"round trip, {style.unit(data.run.unit('rtt_p50'))}"
    )
    axes.set_ylim(top=1.3)
    shares = {1.0: "all", 0.5: "half", 0.1: "10 %", 0.01: "1 %", 0.001: "0.1 %", 1e-4: "0.01 %"}
    low = axes.get_ylim()[0]
    ticks = [share for share in shares if share >= low]
    axes.set_yticks(ticks, [shares[tick] for tick in ticks])
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,g}"))
    axes.grid(True, color=style.RULE, linewidth=0.6)
    plain(axes)
    _legend(figure, axes.get_legend_handles_labels())
    caption = (
        "Each line gives, for a time x, the share of round trips that took at least that long. "
        f"Thick: all counted trials of a path; thin: its boots. A line ends where {BEYOND} are "
        "left; a probe without an answer counts as slower than the longest wait."
    )
    medians = [(w, "rtt_p50") for w in data.run.workloads if data.has(w, "rtt_p50")]
    return figure, Drawn("latency", title, caption, f"Medians: {_in_words(data, medians)}")


def _points(data: Data, name: str, title: str, panels: Sequence[tuple[str, str]]) -> Made:
    if not panels:
        return None
    colours = style.colours_of(data.run)
    rows = [data.paths_with(workload, metric) for workload, metric in panels]
    figure = _figure(title, _subtitle(data, panels[0][1]), [len(paths) for paths in rows])
    for axes, (workload, metric), paths in zip(_axes(figure, rows), panels, rows, strict=True):
        for y, path in enumerate(paths):
            values = data.values(path, workload, metric)
            found = data.found[path, workload, metric]
            look: dict[str, Any] = (
                {"linestyle": ":", "linewidth": 1.4} if found.indicative else {"linewidth": 2.2}
            )
            axes.plot([found.low, found.high], [y, y], color=colours[path], **look)
            axes.plot(found.value, y, "|", color=colours[path], markersize=14, markeredgewidth=2.6)
            _dots(axes, values, y + 0.3, colours[path])
        _rows(axes, _panel_name(workload, metric), paths)
    caption = (
        "Tick: the estimate over boots; line: its 95 % interval; dotted line, with fewer than "
        f"{estimates.MIN_BLOCKS} boots: from the lowest boot to the highest; dots: the boots."
    )
    return figure, Drawn(name, title, caption, _in_words(data, panels))


def _in_words(data: Data, panels: Iterable[tuple[str, str]]) -> str:
    """ "tcp-tx: native 8,491, sriov 8,312; tcp-rx: ..." of (workload, metric)."""

    def figures(workload: str, metric: str) -> str:
        return ", ".join(
            f"{path} {style.number(data.found[path, workload, metric].value)}"
            for path in data.paths_with(workload, metric)
        )

    return "; ".join(
        f"{_panel_name(workload, metric)}: {figures(workload, metric)}"
        for workload, metric in panels
    )


def _stacked(data: Data, name: str, title: str, metric: str, column: str, apart: str = "") -> Made:
    """Bars as long as the path's figure, divided by the reasons' shares of all that was counted.

    Behind them, if there is a metric `apart`, what idle exits have of it.
    """
    panels = [w for w in data.run.workloads if w != IDLE and data.has(w, metric)]
    if not panels:
        return None
    busy = data.exits[~data.exits["reason"].map(is_idle).astype(bool)]
    totals = busy.groupby("reason")[column].sum().sort_values(ascending=False)
    ranked = [str(reason) for reason in totals[totals > 0].index]
    shown = ranked if len(ranked) <= _REASONS_SHOWN else ranked[: _REASONS_SHOWN - 1]
    fills = style.reason_fills(data_reasons(data))
    fills |= {"other": style.OTHER, _HALTING: style.HALTING}
    bar = {name: fills[name] for name in (*shown, "other")}
    named = busy.assign(reason=busy["reason"].where(busy["reason"].isin(shown), "other"))
    sums = named.groupby(["workload", "path", "reason"])[column].sum().to_dict()
    rows = [data.paths_with(workload, metric) for workload in panels]
    figure = _figure(title, _subtitle(data, metric), [len(paths) for paths in rows], legend=2)
    for axes, workload, paths in zip(_axes(figure, rows), panels, rows, strict=True):
        lengths = [data.found[path, workload, metric].value for path in paths]
        parts = [{r: sums.get((workload, path, r), 0.0) for r in bar} for path in paths]
        _bars(axes, lengths, parts, bar)
        for y, path in enumerate(paths):
            if (halted := data.found.get((path, workload, apart))) is not None:
                axes.barh(y, halted.value, 0.62, lengths[y], **style.HALTING.keywords)
            _dots(axes, data.values(path, workload, metric), y, style.INK)
        _rows(axes, workload, paths)
    names = [*shown, "other"] if len(shown) < len(ranked) else list(shown)
    if apart:
        names.append(_HALTING)
    _legend(figure, (_patches(fills[n] for n in names), names))
    idle_exits = (
        "Hatched on white, behind that and not in it: what halting (HLT, MWAIT) takes on a CPU, "
        "i.e. polling for the next interrupt, going to sleep, and back. Left out"
        if apart
        else "Idle exits (HLT, MWAIT) are left out, and so"
    )
    caption = (
        "A bar is as long as the path's estimate over boots and divided by each reason's share; "
        f"dots: the boots' totals. {idle_exits} are paths whose exits were not counted, such as "
        "one without a guest."
    )
    return figure, Drawn(name, title, caption, _in_words(data, [(w, metric) for w in panels]))


def data_reasons(data: Data) -> list[str]:
    """All reasons of the run, the most frequent first: the order in which colours are given."""
    totals = data.exits.groupby("reason")["per_packet"].sum().sort_values(ascending=False)
    return [str(reason) for reason in totals.index]


def _bars(
    axes: Axes,
    lengths: Sequence[float],
    parts: Sequence[Mapping[str, float]],
    fills: Mapping[str, style.Fill],
) -> None:
    """A bar a row, divided by the shares of its parts, in the order of the fillings."""
    sums = [sum(each.values()) for each in parts]
    scales = np.divide(lengths, sums, out=np.zeros(len(parts)), where=np.array(sums) > 0)
    left = np.zeros(len(parts))
    for name, how in fills.items():
        widths = scales * [each.get(name, 0.0) for each in parts]
        (there,) = widths.nonzero()
        axes.barh(there, widths[there], 0.62, left[there], linewidth=0.6, **how.keywords)
        left += widths


def _patches(fills: Iterable[style.Fill]) -> list[Patch]:
    return [Patch(**fill.keywords) for fill in fills]


def _dots(axes: Axes, values: Sequence[float], y: float, colour: str) -> None:
    """Boots side by side around a row, so that equal ones do not hide one another."""
    offsets = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
    axes.plot(values, [y + float(o) for o in offsets], "o", markersize=3.6, markerfacecolor="white",
              markeredgecolor=colour, markeredgewidth=0.9, linestyle="none", clip_on=False,
              zorder=5)  # fmt: skip


def _tail(axes: Axes, rtts: ArrayLike, points: int = 200, **look: Any) -> None:
    """Share of `rtts` (ns) that are at least x, thinned to what the eye can tell apart; down to the
    share of BEYOND of them, below which it is chance."""
    data = np.sort(np.asarray(rtts, dtype=np.float64)) / 1000
    count = len(data)
    ranks = np.unique(count - np.geomspace(count, min(BEYOND, count), points).round().astype(int))
    shares = (count - ranks) / count
    marked = [int(np.abs(shares - share).argmin()) for share in (0.5, 0.1, 0.01, 0.001)]
    axes.step(data[ranks], shares, where="pre", markevery=sorted(set(marked)), **look)


def _figure(title: str, subtitle: str, rows: Sequence[int], legend: int = 0) -> Figure:
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


def _axes(figure: Figure, rows: Sequence[Sequence[str]]) -> list[Axes]:
    heights = [len(paths) + 0.9 for paths in rows]
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)
    return [axes for line in grid for axes in line]


def _rows(axes: Axes, name: str, paths: Sequence[str]) -> None:
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


def _legend(figure: Figure, entries: tuple[Sequence[Artist], Sequence[str]]) -> None:
    handles, labels = entries
    columns = max(1, _LEGEND_CHARACTERS // (max(map(len, labels), default=0) + 6))
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False,
                  fontsize=9, handlelength=1.4, columnspacing=1.2)  # fmt: skip


def _subtitle(data: Data, metric: str) -> str:
    """What a reader must know before believing a figure."""
    info = data.run.info
    boots = data.boots.groupby(["path", "workload"])["boot"].nunique()
    fewest, most = int(boots.min()), int(boots.max())
    better = {"lower": "less is better", "higher": "more is better", "none": ""}
    parts: list[str] = [better[metric_of(metric).better]]
    if fewest < estimates.MIN_BLOCKS:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        parts.append(f"indicative: {count} boot{'s' if most > 1 else ''} a path")
    else:
        parts.append(f"{fewest if fewest == most else f'{fewest} to {most}'} boots a path")
    fidelity = info.fidelity + _GROUNDS[data.run.grounds(metric)]
    text = " · ".join(filter(None, parts))
    joint = " · " if len(text) + len(fidelity) + 3 <= _SUBTITLE_CHARACTERS else "\n"
    return text + joint + fidelity


def _panel_name(workload: str, metric: str) -> str:
    ways = {"throughput_tx": ", from the guest", "throughput_rx": ", to the guest"}
    return workload + ways.get(metric, "")


_FIGURES = (throughput, latency, exits_per_packet, exit_time_share, packet_time, cpu_per_gbit)
