"""Fidelities, clocks, and what a second and a mebibyte are."""

from __future__ import annotations

from typing import Literal

Fidelity = Literal["hardware", "nested-kvm", "nested-tcg"]
Clock = Literal["wall", "virtual", "virtual-smp"]
"""Whose seconds are measured: the world's, or the instructions that emulated CPUs executed. There
is one CPU by `virtual`; by `virtual-smp` there are several, each with a time of its own."""
ClockChoice = Literal["auto", "virtual-smp", "virtual", "wall"]
"""A clock as asked for; auto: the first of the two virtual ones that an emulated lab can have, else
wall."""

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000
MIB = 1 << 20


def is_virtual(clock: Clock) -> bool:
    """Do times repeat on any machine, since they count instructions?"""
    return clock != "wall"


def describe_clock(clock: Clock) -> str:
    """For a heading: "" for the world's."""
    named = {"virtual": "virtual clock", "virtual-smp": "virtual clock of several CPUs"}
    return named.get(clock, "")
