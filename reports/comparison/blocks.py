"""How the evidence on two interleaved configurations grew: a panel a figure, a block a column, and
what each look of the test had shown by then."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import matplotlib as mpl
import matplotlib.ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.comparison import outcome as outcomes
from harness.comparison.outcome import Comparison
from harness.comparison.sequential_pairs import LEVEL, Course, Step
from harness.comparison.verdict import RANK
from harness.core.metrics import metric_of
from harness.stats import sequential
from harness.stats.sequential import Look
from reports.comparison.forest import Row
from reports.comparison.scale import LOOKS, Scale, band, reach, worse_percent
from reports.comparison.words import percent_of
from reports.run import style
from reports.run.canvas import WIDTH, Drawn, Made, plain

NAME = "evidence"
MOST = 12
"""Panels, of the worst figures: two printed pages of them. The others are named in words."""
_PANEL, _LEVEL, _HEAD, _FOOT = 1.25, 0.95, 0.78, 0.42  # inches
_LEFT, _GAP = 0.5, 0.4
_LINE = 72  # characters of small type in the figure's width


def draw(outcome: Comparison) -> Made:
    """None for a comparison that has no pairs."""
    every = _courses(outcome)
    if not every:
        return None
    shown, left = every[:MOST], every[MOST:]
    planned = max(outcome.base.info.boots, *(max(each.pairs) + 1 for each in every))
    looks = sequential.planned_looks(planned, LEVEL)
    taken = max((step.blocks for each in every for step in each.steps), default=0)
    title = "How the evidence grew, block by block"
    foot = _FOOT + (0.3 if left else 0)
    figure = Figure(figsize=(WIDTH, _HEAD + _PANEL * len(shown) + _LEVEL + foot))
    for place, course in enumerate(shown):
        axes = _axes(figure, _HEAD + _PANEL * place, _PANEL, planned, looks, taken)
        _panel(axes, course)
        axes.tick_params(axis="x", labelbottom=False)
    axes = _axes(figure, _HEAD + _PANEL * len(shown), _LEVEL, planned, looks, taken)
    _spent(axes, looks, taken)
    _heading(figure, title, shown, looks, taken)
    counted = _counted(left)
    figure.text(0.02, 0.06 / figure.get_figheight(), fill(counted, _LINE), size=8, color=style.GREY)
    told = f"{'; '.join(map(_in_words, shown))}. {counted}".strip()
    return figure, Drawn(NAME, title, _caption(looks), told, figure.get_figheight())


def _courses(outcome: Comparison) -> list[Course]:
    """In the order of the forest plot."""
    of = {each.figure.name: each for each in outcomes.evidence(outcome)}
    ordered = sorted(map(Row, outcome.primary), key=lambda row: row.order)
    return [of[row.change.name] for row in ordered if row.change.name in of]


def _axes(
    figure: Figure, top: float, height: float, planned: int, looks: Sequence[Look], taken: int
) -> Axes:
    """So many inches below the figure's top, with a line at each look; those to come are dotted."""
    width, whole = figure.get_size_inches()
    inner = height - _GAP
    axes = figure.add_axes(
        (_LEFT / width, 1 - (top + height - _GAP / 2) / whole, (width - _LEFT - 0.1) / width,
         inner / whole)
    )  # fmt: skip
    axes.set_xlim(0.5, planned + 0.5)
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(12, integer=True))
    for look in looks:
        line = "-" if look.blocks <= taken else ":"
        axes.axvline(look.blocks, linestyle=line, color=style.GREY, linewidth=0.7, zorder=1)
    axes.tick_params(labelsize=8, length=2)
    plain(axes)
    return axes


def _panel(axes: Axes, course: Course) -> None:
    metric, margin = course.figure.metric, course.figure.margin
    pairs = {block + 1: worse_percent(metric, ratio) for block, ratio in course.pairs.items()}
    steps = [step for step in course.steps if step.shift.bounded]
    ends = [end for step in steps[-1:] for end in reach(metric, step.shift)]
    scale = Scale.of([*pairs.values(), *ends, *band(metric, margin)])
    axes.set_yscale(**scale.keywords)
    axes.set_ylim(scale.low, scale.high)
    axes.set_yticks(*_few_ticks(scale))
    axes.minorticks_off()
    low, high = map(scale.within, band(metric, margin))
    axes.axhspan(low, high, facecolor=style.RULE, edgecolor=style.GREY, linewidth=0.5, zorder=0.5)
    axes.axhline(0, color=style.INK, linewidth=0.8, zorder=2)
    axes.plot(list(pairs), [scale.within(of) for of in pairs.values()], "o", markersize=3.4,
              markerfacecolor="white", markeredgecolor=style.GREY, markeredgewidth=0.9,
              linestyle="none", clip_on=False, zorder=3)  # fmt: skip
    for step in course.steps:
        _step(axes, step, metric, scale, course.figure.name)
    label = f"{course.figure.path}, {course.figure.workload}: {metric_of(metric).label}"
    axes.set_title(label, loc="left", size=8.5, pad=3)
    axes.set_title(course.verdict, loc="right", size=8.5, weight="bold", pad=3,
                   color=LOOKS[course.verdict].colour)  # fmt: skip


def _step(axes: Axes, step: Step, metric: str, scale: Scale, name: str) -> None:
    """The interval after a look, and the verdict by then."""
    look, x = LOOKS[step.verdict], step.blocks
    ends = [scale.within(end) for end in reach(metric, step.shift)]
    line = "-" if step.shift.bounded else ":"
    axes.plot([x, x], ends, color=look.colour, linestyle=line, linewidth=2, zorder=4,
              solid_capstyle="butt")  # fmt: skip
    at = scale.within(worse_percent(metric, step.shift.ratio))
    axes.plot(x, at, linestyle="none", markersize=6, clip_on=False, zorder=5,
              gid=f"{name}@{step.blocks}", **look.keywords)  # fmt: skip


def _few_ticks(scale: Scale) -> tuple[list[float], list[str]]:
    """Zero, and the largest number on either side."""
    places, texts = scale.ticks()
    kept = {0.0, places[0], places[-1]}
    return (
        [place for place in places if place in kept],
        [text for place, text in zip(places, texts, strict=True) if place in kept],
    )


def _spent(axes: Axes, looks: Sequence[Look], taken: int) -> None:
    """The boundary: how much of the level the looks up to each have spent."""
    x, y, spent = [0.0], [0.0], 0.0
    for look in looks:
        spent += 100 * look.rejected / look.patterns
        x.append(look.blocks)
        y.append(spent)
    axes.step([*x, axes.get_xlim()[1]], [*y, spent], where="post", color=style.INK, linewidth=1.3)
    axes.axvspan(0.5, taken, color=style.RULE, alpha=0.35, linewidth=0, zorder=0.4)
    axes.set_ylim(0, 100 * LEVEL * 1.1)
    axes.set_yticks([0, 100 * LEVEL], ["0", f"{100 * LEVEL:g}"])
    axes.set_title("share of the level that is spent, %", loc="left", size=8.5, pad=3)
    axes.set_xlabel("block", size=8.5, labelpad=1)


def _heading(
    figure: Figure, title: str, shown: Sequence[Course], looks: Sequence[Look], taken: int
) -> None:
    width, height = figure.get_size_inches()
    figure.text(0.05 / width, 1 - 0.07 / height, title, weight="bold", size=10.5, va="top")
    done = sum(look.blocks <= taken for look in looks)
    under = f"up is worse, % · {done} of {len(looks)} planned looks taken"
    figure.text(0.05 / width, 1 - 0.29 / height, under, size=8.5, color=style.GREY, va="top")
    used = {step.verdict for each in shown for step in each.steps}
    keys = [
        Line2D([], [], linestyle="-", color=LOOKS[verdict].colour, linewidth=1.6, markersize=6,
               label=verdict, **LOOKS[verdict].keywords)
        for verdict in RANK
        if verdict in used
    ]  # fmt: skip
    keys.append(Line2D([], [], linestyle="none", marker="o", markersize=3.4, label="a block's pair",
                       markerfacecolor="white", markeredgecolor=style.GREY))  # fmt: skip
    figure.legend(handles=keys, loc="upper left", bbox_to_anchor=(0.02 / width, 1 - 0.46 / height),
                  ncols=3, frameon=False, fontsize=8, handletextpad=0.4, columnspacing=1.0,
                  borderaxespad=0, borderpad=0, handlelength=1.4)  # fmt: skip


def _caption(looks: Sequence[Look]) -> str:
    earliest = (
        f"no look before block {looks[0].blocks} can decide" if looks else "no look can decide"
    )
    return (
        "Circles: what each block's pair showed. Lines: what no look up to there ruled out, its "
        "mark the change and the verdict by then; dotted: still without an end. Vertical lines: "
        f"the planned looks, dotted those to come; {earliest}. A line that has left zero is beyond "
        "chance; one within the grey margin is no change. Below: the boundary, the share of the "
        f"level ({100 * LEVEL:g} %) that the looks may have spent by each block."
    )


def _counted(left: Sequence[Course]) -> str:
    names = ", ".join(each.figure.name for each in left)
    return f"And {len(left)} more: {names}." if left else ""


def _in_words(course: Course) -> str:
    """ "sriov, tcp-tx: Throughput: undecided after block 7, regression after block 8 [...]"."""
    name = f"{course.figure.path}, {course.figure.workload}: "
    name += metric_of(course.figure.metric).label
    turns = [
        step
        for before, step in zip((None, *course.steps), course.steps, strict=False)
        if before is None or before.verdict != step.verdict
    ]
    if not turns:
        return f"{name}: no look yet, {len(course.pairs)} blocks"
    told = ", ".join(f"{step.verdict} after block {step.blocks}" for step in turns)
    shift = course.steps[-1].shift
    interval = f"; at last {percent_of(shift.ratio)}"
    if shift.bounded:
        interval += f" [{percent_of(shift.low)}, {percent_of(shift.high)}]"
    return f"{name}: {told}{interval}"
