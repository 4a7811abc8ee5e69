"""A series as SVG: small, in a row of a table, and large, on a page of its own. Its colours are
those of the page's style (site.css), light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from harness.records.history.runs import RunEntry
from reports.history.trend import Point
from reports.run import style
from reports.site.collect import Change, Series

SPARK_RUNS = 60
"""The newest runs that a small one shows."""

_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_EDGE = 120, 26, 3
_WIDTH, _HEIGHT = 960, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 34, 26
_MANY = 150  # points, of which each is then smaller


def spark(series: Series) -> Markup:
    """The newest runs as a line, without axes."""
    values = [point.value for point in series.panel.points if point.finished][-SPARK_RUNS:]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    across = (_SPARK_WIDTH - 2 * _SPARK_EDGE) / max(len(values) - 1, 1)
    up = (_SPARK_HEIGHT - 2 * _SPARK_EDGE) / (high - low) if high > low else 0.0
    places = [
        (_SPARK_EDGE + index * across, _SPARK_HEIGHT / 2 - (value - (low + high) / 2) * up)
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    unit = style.unit(series.panel.unit)
    told = f"{len(values)} runs, {style.number(low)} to {style.number(high)} {unit}"
    x, y = places[-1]
    return Markup(
        f'<svg class="spark" viewBox="0 0 {_SPARK_WIDTH} {_SPARK_HEIGHT}" role="img" '
        f'aria-label="{escape(told)}"><title>{escape(told)}</title><polyline points="{line}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2"/></svg>'
    )


@dataclass(frozen=True)
class _Axes:
    """Where a run and a value are."""

    low: float
    high: float
    across: float  # from run to run
    up: float  # of a unit of the value

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Axes:
        low, high = min(point.low for point in points), max(point.high for point in points)
        room = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
        low, high = max(low - room, 0.0 if low >= 0 else -math.inf), high + room
        up = (_HEIGHT - _TOP - _BOTTOM) / (high - low)
        return cls(low, high, (_WIDTH - _LEFT - _RIGHT) / len(points), up)

    def x(self, index: float) -> float:
        return _LEFT + (index + 0.5) * self.across

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.low) * self.up


class Told(NamedTuple):
    """A run to whom points at it, fit for SVG: what all series of a group have in common."""

    run: str
    report: str  # its address, "" if there is none

    @classmethod
    def of(cls, entry: RunEntry, report: str) -> Told:
        return cls(str(escape(f"{entry.run}, {entry.created[:10]}")), str(escape(report)))


def chart(series: Series, told: Sequence[Told]) -> Markup:
    """Every run with the range of its boots, the levels, and where one follows another. `told` is
    of each of the group's runs."""
    points = series.panel.points
    axes = _Axes.of(points)
    title = f"{series.label}, {series.panel.path}, {series.panel.workload}: run by run"
    state = "; ".join(f"{each.step} with {each.entry.run}" for each in series.changes)
    label = f"{title}. {len(points)} runs; {state or series.state}"
    parts = (
        *_grid(axes, series.panel.unit),
        *_dates(axes, points),
        *(_change(axes, number, change) for number, change in enumerate(series.changes)),
        _ranges(axes, points),
        *_dots(axes, points, style.unit(series.panel.unit), told),
        *(
            f'<path class="level" d="M{axes.x(level.first - 0.45):.1f} {axes.y(level.value):.1f}'
            f'H{axes.x(level.last + 0.45):.1f}"/>'
            for level in series.panel.levels
        ),
    )
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _grid(axes: _Axes, unit: str) -> Iterator[str]:
    for value in ticks(axes.low, axes.high):
        y = axes.y(value)
        yield f'<path class="rule" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}">{value:,.10g}</text>'
    yield f'<text class="unit" x="4" y="14">{escape(style.unit(unit))}</text>'


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high: multiples of 1, 2 or 5 times a power of ten, `most` steps of
    which are no less than the range."""
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(step * n, 12) for n in range(first, last + 1)]


def _dates(axes: _Axes, points: Sequence[Point]) -> Iterator[str]:
    """Runs stand side by side, however long there was none; a few have their day below them."""
    last = len(points) - 1
    for index in sorted({0, last // 2, last}):
        anchor = "start" if index == 0 and last else "end" if index == last and last else "middle"
        day = escape(points[index].created[:10])
        x, y = axes.x(index), _HEIGHT - 6
        yield f'<text class="day" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{day}</text>'


def _change(axes: _Axes, number: int, change: Change) -> str:
    x = (axes.x(change.before.last) + axes.x(change.after.first)) / 2
    anchor, shift = ("end", -5) if x > 0.85 * _WIDTH else ("start", 5)
    y = 14 + 13 * (number % 2)
    return (
        f'<path class="change" d="M{x:.1f} {_TOP - 16}V{_HEIGHT - _BOTTOM}"/>'
        f'<text class="step {change.judged}" x="{x + shift:.1f}" y="{y}" '
        f'text-anchor="{anchor}">{escape(change.step)}</text>'
    )


def _ranges(axes: _Axes, points: Sequence[Point]) -> str:
    x, y = axes.x, axes.y
    lines = (
        f"M{x(index):.1f} {y(point.low):.1f}V{y(point.high):.1f}"
        for index, point in enumerate(points)
        if point.high > point.low
    )
    return f'<path class="range" d="{"".join(lines)}"/>'


def _dots(axes: _Axes, points: Sequence[Point], unit: str, told: Sequence[Told]) -> Iterator[str]:
    """A large site has a hundred thousand of them."""
    size, said = 3.5 if len(points) < _MANY else 2.5, escape(unit)
    x, y, number = axes.x, axes.y, style.number
    for index, point in enumerate(points):
        run, report = told[point.place]
        kind = "" if point.finished else ' class="open"'
        dot = (
            f'<circle{kind} cx="{x(index):.1f}" cy="{y(point.value):.1f}" r="{size}">'
            f"<title>{run}: {number(point.value)} {said}</title></circle>"
        )
        # The table below has the same links for who cannot point.
        yield f'<a href="{report}" tabindex="-1">{dot}</a>' if report else dot
