"""Colours of paths: seen on white, and told apart with any common colour vision."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from harness import paths
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


def contrast(colour: str) -> float:
    """With white (WCAG 2.1)."""
    return 1.05 / (float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB, white point D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    of_white = xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(of_white > 0.008856, np.cbrt(of_white), 7.787 * of_white + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("path", COLOURS)
def test_a_path_stands_out_from_the_page(path: str) -> None:
    assert contrast(COLOURS[path]) >= 3


@pytest.mark.parametrize("vision", VISIONS)
def test_two_paths_are_told_apart(vision: str) -> None:
    seen = {path: lab(VISIONS[vision] @ linear(colour)) for path, colour in COLOURS.items()}
    near = {
        pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)
    }
    assert {pair: apart for pair, apart in near.items() if apart < APART} == {}


def test_a_reason_is_told_by_its_pattern_where_two_have_one_colour() -> None:
    fills = style.reason_fills(["npf", "msr", "interrupt", "vintr", "io", "cpuid", "wbinvd"])
    assert all(contrast(fill.colour) >= 3 for fill in fills.values())
    assert len({fill.pattern for fill in fills.values()}) == len(fills)
