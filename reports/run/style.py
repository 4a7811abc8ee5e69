"""How figures look: colours that mean the same everywhere, and numbers written one way.

Colours of paths stand out from white by 3:1 at least (WCAG 2.1, 1.4.11), and can be told apart with
any common colour vision: those by Okabe and Ito (2008) that do, and others found beside them. A
marker, a label or a pattern always says the same again. On a dark page each has a lighter twin, of
about the same hue, for which both holds as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.records.run import Run
from harness.stats.estimates import Estimate

INK, GREY, RULE = "#1a1a1a", "#6b6b6b", "#d5d5d5"

_REASONS = {
    "npf": "#d55e00",
    "ept_misconfig": "#d55e00",
    "ept_violation": "#882255",
    "msr": "#0072b2",
    "msr_write": "#0072b2",
    "interrupt": "#1d4098",
    "external_interrupt": "#1d4098",
    "vintr": "#009e73",
    "interrupt_window": "#009e73",
    "io": "#8e4704",
    "io_instruction": "#8e4704",
}
_SPARE = (
    "#332288", "#117733", "#aa4499", "#6e974b", "#742862", "#8e4704", "#cc79a7", "#0072b2",
    "#d55e00", "#009e73", "#1d4098",
)  # fmt: skip
ON_DARK = {
    "#2c2c2b": "#7a7a78",
    "#4d4d4d": "#7a7a78",  # of runs of before 2026-11-28, whose others need no twin
    "#8e4704": "#ea9454",
    "#a33b00": "#ff8c5a",
    "#d55e00": "#ef731f",
    "#6e974b": "#bff193",
    "#742862": "#d07db9",
    "#1d4098": "#8490f5",
    "#0072b2": "#86bdf9",
    "#cc79a7": "#feb3db",
    "#009e73": "#65fbc4",
    "#882255": "#de73a1",
    "#332288": "#8869db",
    "#117733": "#6dc87d",
    "#aa4499": "#ff95ec",
    "#7a7a7a": "#cacaca",
}
"""A colour on white -> its twin on a dark page."""

_PATTERNS = ("", "////", "..", "xxxx", "----", "\\\\\\\\", "++++", "oooo")


@dataclass(frozen=True)
class Fill:
    """How a part of a bar is filled: by its colour, and by a pattern for who sees none."""

    colour: str
    pattern: str = ""  # matplotlib's hatch
    line: str = "white"  # of its edge and its pattern

    @property
    def keywords(self) -> dict[str, Any]:
        """For a bar or a patch of matplotlib's."""
        return {"facecolor": self.colour, "edgecolor": self.line, "hatch": self.pattern}


HALTING = Fill("white", "////", GREY)
OTHER = Fill("#7a7a7a")
PARTS = (
    Fill("#009e73"),
    Fill("#d55e00"),
    Fill("#d55e00", "////"),
    HALTING,
    Fill("#0072b2", ".."),
    Fill("#cc79a7", "xxxx"),
    Fill("white", "..", GREY),
)
"""Guest, exits, their price, halting, vhost, QEMU, the rest."""
_MARKERS = "oDsv^PX*<>"


def path_colours(declared: Mapping[str, str]) -> dict[str, str]:
    """A colour for each path, its own in every report; a spare one for a path that declares ""."""
    return _assign(declared, {path.lower(): colour for path, colour in declared.items() if colour})


def colours_of(run: Run) -> dict[str, str]:
    """A colour for each path of a run."""
    return path_colours({path: run.path_facts(path).colour for path in run.paths})


def path_markers(paths: Iterable[str]) -> dict[str, str]:
    """A marker for each path, so that a figure can be read without its colours."""
    return {path: _MARKERS[i % len(_MARKERS)] for i, path in enumerate(paths)}


def reason_fills(reasons: Iterable[str]) -> dict[str, Fill]:
    """A filling for each exit reason, the most frequent first. The names of SVM and VMX for one
    thing share their colour."""
    colours = _assign(reasons, _REASONS)
    return {
        reason: Fill(colour, _PATTERNS[i % len(_PATTERNS)])
        for i, (reason, colour) in enumerate(colours.items())
    }


def _assign(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    names = tuple(names)
    chosen = {name: known[name.lower()] for name in names if name.lower() in known}
    spare = [colour for colour in _SPARE if colour not in chosen.values()] or [OTHER.colour]
    unknown = [name for name in names if name not in chosen]
    return chosen | {name: spare[i % len(spare)] for i, name in enumerate(unknown)}


def number(value: float, like: float | None = None) -> str:
    """Three significant digits, thousands apart; `like` fixes the decimals by another number."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value if like is None else like)
    decimals = 0 if size >= 100 else 2 - math.floor(math.log10(size)) if size > 0 else 0
    text = f"{value:,.{min(decimals, 9)}f}"
    return f"{value:.2g}" if value and not text.strip("-0.,") else text


def spread(figure: Estimate) -> tuple[str, str]:
    """A figure and its interval: ("0.412", "[0.380, 0.447]")."""
    like = figure.value or max(abs(figure.low), abs(figure.high))
    low, high = number(figure.low, like), number(figure.high, like)
    return number(figure.value), f"[{low}, {high}]"


def rough(value: float) -> str:
    """Two significant digits, for sentences."""
    size = abs(value)
    decimals = 0 if size >= 10 else 1 - math.floor(math.log10(size)) if size > 0 else 0
    return f"{value:,.{min(decimals, 9)}f}"


def unit(metric_unit: str) -> str:
    """A unit as it is printed; the CSV keeps to ASCII."""
    return re.sub(r"\bus\b", "\N{MICRO SIGN}s", metric_unit)


def times(ratio: float) -> str:
    """A ratio in words of a reader: "3.2", "38"."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1.95 else f"{ratio:.2f}"
