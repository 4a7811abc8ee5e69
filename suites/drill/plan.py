"""What befalls a run in the drill, and at which of its steps: data, and the drawing of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Literal, get_args

import msgspec

Fault = Literal[
    "killed",
    "killed in flight",
    "killed twice",
    "cut",
    "silent",
    "guest killed",
    "host full",
    "controller full",
]
"""The harness is killed (SIGKILL) before it sends a command; while the host has it in hand; before
it, and the `restore` that follows is killed as well. Its connection is cut while the host has a
command in hand; its machine falls silent then, so that the host sees a connection and nothing of
its end. The guest's QEMU is killed. The host's disk, where journal, locks and guests' files are, is
full from that step on, or the controller's is, where its own are."""

FAULTS: tuple[Fault, ...] = get_args(Fault)

Phase = Literal["opening", "partner", "path", "guest", "leaving"]
"""What a run is about: the host is asked and locked; the link partner made; the path; QEMU started
and connected to; all of it undone."""

DEADLY: frozenset[Fault] = frozenset({"killed", "killed in flight", "killed twice", "silent"})
"""The harness does not survive these."""

POINTS: Mapping[Fault, int] = {
    "killed": 4,
    "killed in flight": 4,
    "killed twice": 2,
    "cut": 4,
    "silent": 1,
    "guest killed": 3,
    "host full": 3,
    "controller full": 2,
}
"""How many of each fault a path gets."""

IN_FLIGHT = 0.15
"""Seconds, at most, from a command's sending to the fault; in the nested lab most take as long."""

RESTORING = (0.5, 3.0)
"""Seconds from the start of a `restore` to its being killed, between these."""


class Step(msgspec.Struct, frozen=True):
    """Something that a run asked of the host, in the order of asking, from 1."""

    number: int
    phase: Phase
    what: str
    guest: bool  # whether a QEMU had been asked for by then


class Plan(msgspec.Struct, frozen=True):
    """What a driver is to do. Without a fault it tells its steps."""

    lab: str  # as for --lab
    run: str
    path: str
    directory: str  # of its own, on the controller's disk that gets full if that is the fault
    fault: Fault | None = None
    step: int = 0  # before which, or in which, it strikes
    delay: float = 0.0  # seconds from the step's beginning, or that of `restore`


class Point(msgspec.Struct, frozen=True):
    """A fault at a step of a path."""

    path: str
    fault: Fault
    step: Step
    delay: float = 0.0

    def __str__(self) -> str:
        of = "restore's start" if self.fault == "killed twice" else "its sending"
        late = f", {self.delay:.2f} s after {of}" if self.delay else ""
        return f"{self.path}: {self.fault} at step {self.step.number} ({self.step.what}){late}"


def draw(
    path: str, steps: Sequence[Step], random: Random, counts: Mapping[Fault, int] = POINTS
) -> Iterator[Point]:
    """The points of a path: of each fault, one in each of as many equal stretches of its steps, of
    which some have a step in common if there are fewer steps."""
    for fault, count in counts.items():
        able = exposed(steps, fault)
        for number in range(count) if able else ():
            first, last = (n * len(able) // count for n in (number, number + 1))
            yield at(path, fault, random.choice(able[first : max(last, first + 1)]), random)


def at(path: str, fault: Fault, step: Step, random: Random) -> Point:
    """The fault at that step, at a moment that is drawn if something is to be in flight."""
    within = {"killed twice": RESTORING}.get(fault, (0.0, IN_FLIGHT))
    drawn = fault in ("killed in flight", "killed twice", "cut", "silent")
    return Point(path, fault, step, random.uniform(*within) if drawn else 0.0)


def exposed(steps: Sequence[Step], fault: Fault) -> list[Step]:
    """The steps at which a fault can strike; the many in which the host is only asked count for
    one, since nothing is changed there."""
    opening = [step for step in steps if step.phase == "opening"]
    later = [step for step in steps if step.phase != "opening"]
    if fault == "guest killed":
        return [step for step in later if step.guest]
    return opening[-1:] + later
