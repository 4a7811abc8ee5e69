"""On what a run would be made, as far as that is known without starting it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.units import Clock
from harness.labs.choice import Choice, NestedChoice
from harness.labs.nested import accel
from harness.labs.nested.accel import Accelerator
from harness.labs.nested.machine import NAME
from harness.labs.shape import LabShape, for_guests


@dataclass(frozen=True)
class Foreseen:
    """A host, and its clock."""

    host: str
    clock: Clock
    cpus: tuple[int, ...]  # for what serves guests; none: any
    machine: Accelerator | None = None  # the nested lab's; None: a real host, which is to be asked


def foreseen(lab: Choice, shape: LabShape) -> Foreseen:
    """What a run in this lab gets."""
    if isinstance(lab, NestedChoice):
        machine = accel.foreseen(shape)
        return Foreseen(NAME, machine.clock, for_guests(machine.cpus), machine)
    return Foreseen(lab.host.name, "wall", lab.host.cpus)
