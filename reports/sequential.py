"""Judging pairs as they come in: evidence that is good whenever one stops. Pure functions.

One number is one block, in which both configurations were booted: how they differed, as a log
ratio. If the configuration made no difference, each would as well have had the other sign, however
large it is (as in stats.py). Nobody then grows rich by betting on the signs: a share b of one's
wealth staked on plus makes 1 + b or 1 - b of it, with even chances. So wealth is evidence, and the
chance that it *ever* reaches 1 / level is at most the level (Ville 1939), however often one looks.
This is the test martingale of a sign-symmetric null (Ramdas, Ruf, Larsson and Koolen 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

STAKES = (10.0, 31.6, 100.0, 316.0, 1000.0, math.inf)
"""The share staked is tanh(stake x |difference|): large for a difference beyond the noise, small
for one within. The stake that fits is about effect / variance, so these suit from 10 % of effect in
10 % of noise to a thousandth of either; the last stakes all on each sign. The wealth is shared out
among them evenly, which costs a block or two and leaves nothing to be tuned."""


def wealth(differences: Sequence[float], centre: float = 0.0) -> float:
    """What betting on "above `centre`" made of 1: evidence against a centre there or lower.

    It falls as `centre` rises. At most 2 ** blocks, reached if all blocks lie clearly above.
    """
    above = np.asarray(differences, dtype=np.float64) - centre
    grown = [_grown(above, stake) for stake in STAKES]
    return math.exp(float(np.logaddexp.reduce(grown)) - math.log(len(STAKES)))


def _grown(above: np.ndarray, stake: float) -> float:
    """log of the product of 1 + tanh(stake * x) = 2 / (1 + exp(-2 * stake * x))."""
    if math.isinf(stake):
        if (above < 0).any():
            return -math.inf
        return math.log(2) * int(np.count_nonzero(above))
    return float(np.sum(math.log(2) - np.logaddexp(0.0, -2 * stake * above)))


def either_way(differences: Sequence[float]) -> float:
    """Evidence against "no difference", half of the wealth bet on each direction."""
    return (wealth(differences) + wealth([-each for each in differences])) / 2


def interval(differences: Sequence[float], level: float) -> tuple[float, float]:
    """The centres that evidence does not rule out, (low, high). That the true one is among them
    holds at all numbers of blocks at once, but for a chance of `level`. Unbounded where there are
    too few blocks to rule out anything."""
    return _lowest(differences, level), -_lowest([-each for each in differences], level)


def _lowest(differences: Sequence[float], level: float) -> float:
    """Where the evidence against a centre so low or lower has just become 2 / level."""
    enough = 2 / level
    if 2.0 ** len(differences) < enough:
        return -math.inf
    out, within = min(differences) - 10.0, max(differences)
    if wealth(differences, out) < enough:
        return -math.inf
    for _ in range(60):
        middle = (out + within) / 2
        out, within = (middle, within) if wealth(differences, middle) >= enough else (out, middle)
    return out


def adjusted(evidence: Sequence[float]) -> list[float]:
    """Evidence of each of several figures, so that the chance of being wrong about any is bounded.

    The mean of evidence is evidence against all of it being chance, whatever the dependence; a
    figure has what remains of its own in the worst company (closed testing, Vovk and Wang 2021).
    """
    ordered = sorted(evidence)
    found = []
    for own in evidence:
        others = list(ordered)
        others.remove(own)
        total, worst = own, own
        for company, each in enumerate(others, start=2):
            total += each
            worst = min(worst, total / company)
        found.append(worst)
    return found


def chance(evidence: float) -> float:
    """The level at which so much evidence is just enough: a p-value good at any stopping."""
    return min(1.0, 1 / evidence) if evidence > 0 else 1.0
