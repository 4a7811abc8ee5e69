"""Colours, on a light page and on a dark one: what is read has contrast, and paths and verdicts are
told apart with any common colour vision."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

from harness import paths
from reports.comparison.scale import ABSENT, LOOKS
from reports.run import style

COLOURS = {path.name: path.facts.colour for path in paths.ALL}

VISIONS = {
    "usual": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue cones": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
"""What linear sRGB becomes: Machado, Oliveira and Fernandes (2009), table for severity 1.0."""

APART = 15.0
"""CIE 1976 colour difference; 2.3 is just noticeable where two touch."""


def linear(colour: str) -> np.ndarray:
    """sRGB without its gamma (IEC 61966-2-1)."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    low, high = channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    return np.where(channels <= 0.04045, low, high)


def contrast(colour: str, page: str = "#ffffff") -> float:
    """WCAG 2.1."""
    weights = [0.2126, 0.7152, 0.0722]
    dark, light = sorted(float(linear(each) @ weights) for each in (colour, page))
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, white point D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    of_white = xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(of_white > 0.008856, np.cbrt(of_white), 7.787 * of_white + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


SHEET = (files("reports") / "templates" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{([^}]*--page[^}]*)\}", SHEET)
)
MODES: dict[str, tuple[dict[str, str], Callable[[str], str]]] = {
    "light": (LIGHT, lambda colour: colour),
    "dark": (DARK, lambda colour: style.ON_DARK[colour]),
}
modes = pytest.mark.parametrize("mode", MODES)


@modes
def test_text_is_read_on_each_of_its_grounds(mode: str) -> None:
    page, _ = MODES[mode]
    assert {"page", "ink", "grey", "rule", "soft", "yes", "no", "known", "link"} == page.keys()
    for name in page.keys() - {"page", "soft", "rule"}:
        assert min(contrast(page[name], page[on]) for on in ("page", "soft")) >= 4.5, name


def test_no_colour_of_a_page_stands_outside_of_its_variables() -> None:
    outside = re.sub(r":root \{[^}]*\}", "", SHEET)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b", outside)


@modes
@pytest.mark.parametrize("path", COLOURS)
def test_a_path_stands_out_from_the_page(path: str, mode: str) -> None:
    page, shown = MODES[mode]
    assert contrast(shown(COLOURS[path]), page["page"]) >= 3


@modes
@pytest.mark.parametrize("vision", VISIONS)
def test_two_paths_are_told_apart(vision: str, mode: str) -> None:
    _, shown = MODES[mode]
    seen = {path: lab(VISIONS[vision] @ linear(shown(each))) for path, each in COLOURS.items()}
    near = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)
    }
    assert {pair: apart for pair, apart in near.items() if apart < APART} == {}


@modes
def test_a_reason_is_told_by_its_pattern_where_two_have_one_colour(mode: str) -> None:
    page, shown = MODES[mode]
    fills = style.reason_fills(["npf", "msr", "interrupt", "vintr", "io", "cpuid", "wbinvd", "hlt"])
    every = [*fills.values(), style.OTHER, *style.PARTS]
    solid = [fill.colour for fill in every if fill.colour != "white"]
    assert all(contrast(shown(colour), page["page"]) >= 3 for colour in solid)
    assert len({fill.pattern for fill in fills.values()}) == len(fills)


def test_every_colour_of_figures_has_a_twin_on_dark() -> None:
    spare = style.path_colours({str(number): "" for number in range(20)}).values()
    reasons = [fill.colour for fill in style.reason_fills(style._REASONS).values()]
    assert {*spare, *reasons} <= style.ON_DARK.keys()


def of_verdict(colour: str, mode: str) -> str:
    """A page's own ink and grey are its variables."""
    page, shown = MODES[mode]
    return {style.INK: page["ink"], style.GREY: page["grey"]}.get(colour) or shown(colour)


@modes
def test_a_verdict_stands_out_and_has_a_marker_of_its_own(mode: str) -> None:
    page, _ = MODES[mode]
    for colour in (ABSENT, *(look.colour for look in LOOKS.values())):
        assert contrast(of_verdict(colour, mode), page["page"]) >= 4.5, colour
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)


@modes
@pytest.mark.parametrize("vision", VISIONS)
def test_worse_and_better_are_told_apart(vision: str, mode: str) -> None:
    seen = [
        lab(VISIONS[vision] @ linear(of_verdict(LOOKS[verdict].colour, mode)))
        for verdict in ("regression", "improvement", "no change")
    ]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) >= APART
