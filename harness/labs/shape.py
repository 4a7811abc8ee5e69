"""What may be asked of the nested lab's machine (L1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from harness.core.errors import ConfigError
from harness.core.flags import says
from harness.core.units import ClockChoice
from harness.tuning.placement import Room

SMP_CPUS = 5
"""By virtual-smp, of L1: one each for the vCPU, for QEMU's other threads and vhost, for the
interrupts of the port under test, for those of the link partner's port, for its programs."""

MOST_CPUS = 16

PLACED = 4
"""CPUs of L1 from which on everything that takes part in a run has one of its own."""

MOST_EXIT_COST_NS = 100_000
"""Longer than any world switch, one through two nested hypervisors included."""


def for_guests(cpus: int) -> tuple[int, ...]:
    """Of so many CPUs of L1, those for guests, their QEMU and the port under test; none: any."""
    return tuple(range(cpus))[max(2, cpus // 3) :] if cpus >= PLACED else ()


@dataclass(frozen=True)
class LabShape:
    """Which clock L1 lives by, how many CPUs it has, what an exit costs there."""

    clock: ClockChoice = "auto"
    cpus: int | None = None  # None: as many as are usual by that clock
    exit_cost_ns: int = 0
    """Nanoseconds that each pair of #VMEXIT and VMRUN takes beside the instructions of its
    handler."""
    follows: bool = False
    """Does a virtual clock wait for the world's while no CPU has work, or jump to the next timer?
    People and tests that look around do not want hours to pass; figures are better without."""

    def __post_init__(self) -> None:
        """ConfigError for what no clock can have."""
        if self.clock == "virtual" and self.cpus not in (None, 1):
            raise ConfigError(
                f"--lab-cpus {self.cpus}: by --clock virtual all CPUs would share one time",
                remedy="--clock virtual-smp, whose CPUs have a time each",
            )
        if self.exit_cost_ns and self.clock not in ("auto", "virtual-smp"):
            raise ConfigError(
                f"--exit-cost {self.exit_cost_ns}: --clock {self.clock} has no price of an exit",
                remedy="--clock virtual-smp",
            )

    def with_room(self, room: Room) -> LabShape:
        """The same, with as many CPUs as it takes for everything to have one of its own.

        ConfigError if there are fewer, or cannot be so many.
        """
        if self.clock == "virtual":
            if not room.needed:
                return self
            raise ConfigError(
                f"--clock virtual: it has one CPU, and {room.why} wants {room.guests} for guests",
                remedy="leave --clock out",
            )
        counts = range(SMP_CPUS, MOST_CPUS + 1)
        fit = [count for count in counts if len(for_guests(count)) >= room.guests]
        roomy = [count for count in fit if count - len(for_guests(count)) >= room.others]
        if not room.needed and (self.cpus is not None or not fit):
            return self
        if not fit:
            raise ConfigError(
                f"--over: {room.why} wants {room.guests} CPUs for guests, and a lab of "
                f"--lab-cpus {MOST_CPUS} has {len(for_guests(MOST_CPUS))}",
                remedy="leave out its largest values, or take a real host: --lab FILE",
            )
        wanted = (roomy or fit[-1:])[0]
        if self.cpus is None:
            return self if wanted == SMP_CPUS else replace(self, cpus=wanted)
        if self.cpus < fit[0]:
            raise ConfigError(
                f"--lab-cpus {self.cpus}: {room.why} wants {room.guests} CPUs for guests, so that "
                f"each thread has one of its own, and there are {len(for_guests(self.cpus))}",
                remedy=f"--lab-cpus {wanted}, or leave it out",
            )
        return self

    @property
    def needs_smp(self) -> bool:
        """Can nothing but virtual-smp give this?"""
        return self.clock == "virtual-smp" or self.exit_cost_ns > 0

    @property
    def may_use_kvm(self) -> bool:
        """Would KVM do for it, where that works?"""
        return self.clock in ("auto", "wall") and not self.needs_smp

    @property
    def chosen(self) -> tuple[str, ...]:
        """The options by which this was asked for; none for what every lab can have."""
        return (
            *((f"--clock {self.clock}",) if self.clock.startswith("virtual") else ()),
            *((f"--lab-cpus {self.cpus}",) if self.cpus is not None else ()),
            *((f"--exit-cost {self.exit_cost_ns}",) if self.exit_cost_ns else ()),
        )


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options that say how the nested lab's machine is to be."""

    clock: Annotated[
        ClockChoice,
        says(
            "virtual-smp: 1 ns an instruction, each CPU with a time of its own, so that times "
            "repeat on any machine (nested lab only); virtual: the same with one CPU, where QEMU "
            "cannot be built; wall: the world's; auto (default): the first of these that an "
            "emulated lab can have, else wall",
        ),
    ] = "auto"
    lab_cpus: (
        Annotated[
            int,
            says(
                f"CPUs of the nested lab (default {SMP_CPUS} by --clock virtual-smp), with 1 GiB "
                "each",
                metavar="N",
                ge=1,
                le=MOST_CPUS,
            ),
        ]
        | None
    ) = None
    exit_cost: Annotated[
        int,
        says(
            "let each VM exit in the nested lab take so many ns longer, as the world switch of a "
            "real CPU does (default 0: only the instructions of its handler)",
            metavar="NS",
            ge=0,
            le=MOST_EXIT_COST_NS,
        ),
    ] = 0

    def shape(self, *, follows: bool = False) -> LabShape:
        """What they ask for; ConfigError if no lab can be so."""
        return LabShape(self.clock, self.lab_cpus, self.exit_cost, follows)
