"""The forest plot of a comparison: a row a figure, the worst first, with its change, the interval,
the margin, and what explains it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten, wrap
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.comparison.outcome import PREDICTED, Comparison
from harness.comparison.verdict import LOST, RANK, Change
from harness.core.metrics import metric_of
from harness.records.boots import Boots, Name, boots_of
from reports.comparison.scale import ABSENT, LOOKS, Scale, band, reach, worse_percent
from reports.comparison.words import RARE, notable, percent, percent_of
from reports.run import style
from reports.run.canvas import WIDTH, Drawn, Made, plain

NAME = "changes"
RIGHT = 3.5  # inches beside the plot, for words; the plot itself is as wide as a run's figures
HEAD, FOOT = 1.32, 0.62  # inches
_HEIGHTS = 0.42, 0.3  # of a row, with a mark and without
_APART = 0.34  # of the line above the figures that do not decide
_PLOT = WIDTH - 0.2  # between the ends of the axis
FEW = 24
"""Rows that always fit a printed page. Whatever changed, is lost or looks worse has its row,
however many those are: who looks for it must find it. Figures without a change, and those that are
undecided and look like none, fill the rest of the page; others of them are counted in a line below.
A picture of a hundred rows of which three matter hides the three, and the table has them all."""
_LABEL, _BESIDE = 60, 56  # characters in a line of a row, and of what stands beside it


@dataclass(frozen=True)
class Row:
    """A figure, and the least and the most of its few boots if they have no interval."""

    change: Change
    few: tuple[float, float] | None = None  # new / base

    @property
    def ends(self) -> tuple[float, float] | None:
        """Of the line, per cent worse."""
        shift = self.change.shift
        if self.change.both and shift.bounded:
            return reach(self.change.metric, shift)
        if self.few is None:
            return None
        low, high = sorted(worse_percent(self.change.metric, end) for end in self.few)
        return low, high

    @property
    def at(self) -> float:
        """Of the mark, per cent worse; NaN if there is none."""
        return worse_percent(self.change.metric, self.change.shift.ratio)

    @property
    def order(self) -> tuple[bool, int, float, float]:
        """A key to sort by, the worst first: the verdict, then how far the interval lies beyond the
        margin on the bad side, then the change itself."""
        change, beyond = self.change, math.inf
        if change.both:
            margin = band(change.metric, change.margin)[1]
            beyond = reach(change.metric, change.shift)[0] - margin if change.shift.bounded else 0.0
        return not change.primary, RANK[change.verdict], -beyond, -change.worse

    @property
    def height(self) -> float:
        """Inches."""
        return _HEIGHTS[0] if self.change.both else _HEIGHTS[1]

    @property
    def told(self) -> bool:
        """Has it a row in any case?"""
        change = self.change
        return not change.both or change.beyond or change.verdict not in ("no change", "undecided")


def rows(outcome: Comparison) -> tuple[list[Row], list[Row]]:
    """The rows to draw, in their order, and figures that decide which are counted only."""
    few = _few(outcome)
    every = [
        Row(each, few.get((each.path, each.workload, each.metric)))
        for each in outcome.changes
        if each.primary or notable(each)
    ]
    every.sort(key=lambda row: row.order)
    room = FEW - sum(row.told for row in every)
    shown: list[Row] = []
    left: list[Row] = []
    for row in every:
        room -= not row.told
        (shown if row.told or room >= 0 else left).append(row)
    return shown, left


def _few(outcome: Comparison) -> Mapping[Name, tuple[float, float]]:
    """The least and the most ratio of each figure without an interval: of pairs their own, of two
    runs any boot's of new to any of base. A series keeps medians of its runs only: nothing."""
    if outcome.method is PREDICTED:
        return {}
    base, new = boots_of(outcome.base), boots_of(outcome.new)
    return {
        (each.path, each.workload, each.metric): ends
        for each in outcome.changes
        if each.both and not each.shift.bounded
        for ends in [_extremes(base, new, (each.path, each.workload, each.metric), outcome)]
    }


def _extremes(base: Boots, new: Boots, name: Name, outcome: Comparison) -> tuple[float, float]:
    before, after = base[name], new[name]
    pairs = [
        _ratio(value, before[other])
        for block, value in after.items()
        for other in ([block] if outcome.method.sample == "pair" else before)
        if other in before
    ]
    return min(pairs), max(pairs)


def _ratio(new: float, base: float) -> float:
    return new / base if base else math.inf if new else 1.0


def draw(outcome: Comparison) -> Made:
    """None if no figure has anything to compare, and none is lost."""
    shown, left = rows(outcome)
    if not shown:
        return None
    title = "What changed, the worst first"
    ends = [end for row in shown for end in (*(row.ends or ()), row.at)]
    margins = [end for row in shown for end in band(row.change.metric, row.change.margin)]
    scale = Scale.of((*ends, *margins))
    tops, down = _tops(shown)
    figure = Figure(figsize=(WIDTH + RIGHT, HEAD + down + FOOT))
    axes = _axes(figure, scale, down)
    for row, top in zip(shown, tops, strict=True):
        _row(axes, top, row, scale)
    _apart(axes, shown, tops)
    _heading(figure, outcome, title, shown)
    counted = _counted(left)
    figure.text(0.1 / figure.get_figwidth(), 0.1 / figure.get_figheight(), counted, size=8.5)
    told = f"{'; '.join(map(_in_words, shown))}. {counted}".strip()
    return figure, Drawn(NAME, title, _caption(outcome, scale), told, figure.get_figheight())


def _tops(shown: Sequence[Row]) -> tuple[list[float], float]:
    """Where each row begins, and where the last one ends, in inches from the first's top."""
    tops, down, before = [], 0.0, True
    for row in shown:
        down += _APART if before and not row.change.primary else 0.0
        before = row.change.primary
        tops.append(down)
        down += row.height
    return tops, down


def _axes(figure: Figure, scale: Scale, down: float) -> Axes:
    """An inch is 1 in y."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.1 / width, FOOT / height, _PLOT / width, down / height))
    axes.set_xscale(**scale.keywords)
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(down, 0)
    axes.set_yticks([])
    axes.set_xticks(*scale.ticks(), size=8.5)
    axes.minorticks_off()
    axes.tick_params(axis="x", top=True, labeltop=True, length=3)
    plain(axes)
    axes.spines["left"].set_visible(False)
    return axes


def _row(axes: Axes, top: float, row: Row, scale: Scale) -> None:
    """Words at its top, its mark below them, what explains it beside both."""
    change = row.change
    place = axes.get_yaxis_transform()  # x as a share of the axes, y of the data
    axes.axhline(top, xmax=(WIDTH + RIGHT - 0.2) / _PLOT, color=style.RULE, linewidth=0.6,
                 clip_on=False, zorder=1)  # fmt: skip
    size = percent(change) if change.both else change.verdict
    lost = ABSENT if change.verdict in LOST else style.GREY
    colour = LOOKS[change.verdict].colour if change.both else lost
    name = f"{change.path}, {change.workload}: {metric_of(change.metric).label}"
    label = shorten(name, _LABEL - len(size), placeholder=" …")
    words = top + (0.12 if change.both else row.height / 2)
    axes.text(0, words, label, size=8.5, va="center", transform=place)
    axes.text(1, words, size, size=8.5, weight="bold", va="center", ha="right", color=colour,
              style="normal" if change.both else "italic", transform=place)  # fmt: skip
    axes.text(1 + 0.3 / _PLOT, top + row.height / 2, "\n".join(_beside(row)), size=7.8, va="center",
              transform=place, linespacing=1.15)  # fmt: skip
    if change.both:
        _mark(axes, top + 0.31, row, scale)


def _apart(axes: Axes, shown: Sequence[Row], tops: Sequence[float]) -> None:
    """The line above the first figure that does not decide."""
    first = next(
        (top for row, top in zip(shown, tops, strict=True) if not row.change.primary), None
    )
    if first is not None:
        axes.text(0, first - 0.1, "Figures that do not decide", size=8.5, color=style.GREY,
                  va="center", style="italic", transform=axes.get_yaxis_transform())  # fmt: skip


def _mark(axes: Axes, y: float, row: Row, scale: Scale) -> None:
    """The margin as a band, the interval as a line, the change as the verdict's mark."""
    change, look = row.change, LOOKS[row.change.verdict]
    low, high = map(scale.within, band(change.metric, change.margin))
    axes.barh(y, high - low, left=low, height=0.13, facecolor=style.RULE, edgecolor=style.GREY,
              linewidth=0.5, zorder=1.5)  # fmt: skip
    axes.plot([0, 0], [y - 0.1, y + 0.1], color=style.INK, linewidth=0.9, zorder=2)
    if row.ends is not None:
        ends = tuple(map(scale.within, row.ends))
        line = ":" if not change.shift.bounded else "-"
        axes.plot(ends, [y, y], color=look.colour, linestyle=line, linewidth=1.8, zorder=3,
                  solid_capstyle="butt")  # fmt: skip
        for end, arrow in zip(row.ends, "<>", strict=True):
            if scale.within(end) != end:
                axes.plot(scale.within(end), y, marker=arrow, color=look.colour, markersize=4,
                          clip_on=False, zorder=3)  # fmt: skip
    axes.plot(scale.within(row.at), y, linestyle="none", markersize=7, clip_on=False, zorder=5,
              gid=change.name, **look.keywords)  # fmt: skip


def _beside(row: Row) -> list[str]:
    """What explains a change; what hinders a verdict; why there is nothing."""
    change, most = row.change, 3 if row.change.both else 2
    told = list(change.exits[:2]) or ([change.why] if change.why else [])
    lines = [line for each in told for line in wrap(each, _BESIDE)]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"{lines[most - 1][: _BESIDE - 2]} …"]


def _heading(figure: Figure, outcome: Comparison, title: str, shown: Sequence[Row]) -> None:
    width, height = figure.get_size_inches()

    def write(x: float, up: float, text: str, **look: Any) -> None:
        figure.text(x / width, up / height, text, **look)

    write(0.1, height - 0.22, title, weight="bold", size=10.5)
    names = shorten(f"{outcome.new_name} against {outcome.base_name}", 90, placeholder=" …")
    write(0.1, height - 0.42, names, size=8.5, color=style.GREY)
    beside = "exits that changed, or why there is no verdict"
    write(WIDTH + 0.2, height - HEAD + 0.32, beside, size=8.5, color=style.GREY)
    better, worse = "\N{LEFTWARDS ARROW} better, %", "worse, % \N{RIGHTWARDS ARROW}"
    for up in (height - HEAD + 0.32, FOOT - 0.36):
        write(0.1, up, better, size=9, weight="bold", color=LOOKS["improvement"].colour)
        write(WIDTH - 0.1, up, worse, size=9, weight="bold", color=LOOKS["regression"].colour,
              ha="right")  # fmt: skip
    used = {row.change.verdict for row in shown if row.change.both}
    keys: list[Artist] = [
        Line2D([], [], linestyle="none", markersize=6.5, label=verdict, **LOOKS[verdict].keywords)
        for verdict in RANK
        if verdict in used
    ]
    keys.append(Patch(facecolor=style.RULE, edgecolor=style.GREY, linewidth=0.5, label="margin"))
    figure.legend(handles=keys, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.53 / height),
                  ncols=len(keys), frameon=False, fontsize=8.5, handletextpad=0.4,
                  columnspacing=1.2, handlelength=1.2, borderaxespad=0)  # fmt: skip


def _caption(outcome: Comparison, scale: Scale) -> str:
    sample = outcome.method.sample
    sentences = [
        f"Mark: the change; line: its {outcome.method.interval} interval; dotted line, with too "
        f"few {sample}s for an interval: from the least to the most that they gave; none: there "
        f"is but one {sample}; grey band: the margin, within which a change is none.",
        "Right is worse for every figure: less throughput, more of all else. Numbers on the right "
        "have their own sign.",
        f"The axis is {scale.note}." if scale.note else "",
        "A figure without a mark is missing on one side, which is not no change.",
    ]
    return " ".join(filter(None, sentences))


def _counted(left: Sequence[Row]) -> str:
    """The figures that have no row."""
    if not left:
        return ""
    counts = Counter(row.change.verdict for row in left)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"And {len(left)} more that look like no change ({told}): the table has them."


def _in_words(row: Row) -> str:
    change = row.change
    name = f"{change.path}, {change.workload}: {metric_of(change.metric).label}"
    if change.verdict in RARE or not change.both:
        return f"{name}: {change.verdict}"
    interval = (
        f" [{percent_of(change.shift.low)}, {percent_of(change.shift.high)}]"
        if change.shift.bounded
        else ""
    )
    return f"{name} {percent(change)}{interval}, {change.verdict}"
