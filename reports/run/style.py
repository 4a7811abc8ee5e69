"""How figures look: colours that mean the same everywhere, and numbers written one way.

Colours are of the sets by Okabe and Ito (2008) and by Paul Tol ("muted"), chosen to be told apart
with any common colour vision; a marker or a label always says the same again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from harness.records.run import Run
from harness.stats.estimates import Estimate

INK, GREY, RULE = "#1a1a1a", "#6b6b6b", "#d5d5d5"

_REASONS = {
    "npf": "#d55e00",
    "ept_misconfig": "#d55e00",
    "ept_violation": "#882255",
    "msr": "#0072b2",
    "msr_write": "#0072b2",
    "interrupt": "#56b4e9",
    "external_interrupt": "#56b4e9",
    "vintr": "#009e73",
    "interrupt_window": "#009e73",
    "io": "#e69f00",
    "io_instruction": "#e69f00",
}
_SPARE = (
    "#332288", "#117733", "#aa4499", "#999933", "#882255", "#44aa99", "#e69f00", "#cc79a7",
    "#0072b2", "#d55e00", "#009e73", "#56b4e9",
)  # fmt: skip
HALTING = "#f0e442"
PARTS = ("#009e73", "#d55e00", "#f4b183", HALTING, "#0072b2", "#e69f00", "#d5d5d5")
"""Guest, exits, their price, halting, vhost, QEMU, the rest."""
OTHER = "#b8b8b8"
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


def reason_colours(reasons: Iterable[str]) -> dict[str, str]:
    """A colour for each exit reason; the names of SVM and VMX for one thing share theirs."""
    return _assign(reasons, _REASONS)


def _assign(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    names = tuple(names)
    chosen = {name: known[name.lower()] for name in names if name.lower() in known}
    spare = [colour for colour in _SPARE if colour not in chosen.values()] or [OTHER]
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
