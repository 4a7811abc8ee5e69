"""Fidelities, clocks, and what a second and a mebibyte are."""

from __future__ import annotations

from typing import Literal

Fidelity = Literal["hardware", "nested-kvm", "nested-tcg"]
Clock = Literal["wall", "virtual"]
"""Whose seconds are measured: the world's, or the instructions that an emulated CPU executed."""
ClockChoice = Literal["auto", "virtual", "wall"]
"""A clock as asked for; auto: virtual wherever a lab is emulated and can have it, else wall."""

NS_PER_S = 1_000_000_000
MIB = 1 << 20
