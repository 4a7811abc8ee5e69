"""Options of a configuration that are varied together: a grid, each of whose points is one."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Annotated

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from harness.core.errors import ConfigError
from harness.core.flags import Option, says
from harness.runs.variant import CONFIGURATION, Variant
from harness.tuning.placement import Room, room

MOST_POINTS = 64
"""A block boots each path at each of them: six boots of one path take hours in a lab, and more than
that no figure can show."""

AXES: dict[str, Option] = {
    each.flag.removeprefix("--"): each
    for each in CONFIGURATION
    if not isinstance(each.kind, inspect.BoolType)
}
"""What can be an axis, by the name that an option has."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a run over a grid."""

    over: Annotated[
        tuple[str, ...],
        says(
            "an option and its values, e.g. queues=1,2,4; given several times, all are combined; "
            f"of {', '.join(AXES)}",
            metavar="OPTION=VALUES",
            words=[f"{name}=" for name in AXES],
            examples=["queues=1,2"],
        ),
    ] = ()


def axes_of(over: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The options and their values, in the order given. ConfigError says which cannot be."""
    found: dict[str, tuple[str, ...]] = {}
    for text in over:
        name, _, listed = text.partition("=")
        values = tuple(dict.fromkeys(each.strip() for each in listed.split(",") if each.strip()))
        if name not in AXES:
            raise ConfigError(
                f"--over {text}: {name!r} is no option of a configuration",
                remedy=f"write OPTION=VALUE,VALUE; choose from {', '.join(AXES)}",
            )
        if name in found:
            raise ConfigError(
                f"--over {text}: {name} is there already; give all of its values once"
            )
        if len(values) < 2:
            raise ConfigError(
                f"--over {text}: an axis has two values at least",
                remedy=f"give one value to all points as --{name} VALUE",
            )
        found[name] = values
    points = math.prod(map(len, found.values()))
    if points > MOST_POINTS:
        counts = " x ".join(str(len(values)) for values in found.values())
        raise ConfigError(
            f"--over: {counts} are {points} points, and {MOST_POINTS} are the most",
            remedy="give fewer values, or make two sweeps of it",
        )
    return found


def grid(over: Sequence[str], common: Variant) -> dict[str, Variant]:
    """A configuration for each point, by its name, upon what all share. ConfigError says what
    cannot be."""
    axes = axes_of(over)
    for name in axes:
        if getattr(common, AXES[name].name) not in (None, ""):
            raise ConfigError(f"--{name} and --over {name}=...: one or the other")
    found: dict[str, Variant] = {}
    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        try:
            given = {AXES[name].name: AXES[name].read(text) for name, text in point.items()}
            found[_name(point, found)] = replace(common, **given).checked()
        except ConfigError as error:
            raise ConfigError(f"--over: {error.message}", remedy=error.remedy) from error
    return found


def _name(point: Mapping[str, str], taken: Mapping[str, object]) -> str:
    """ "queues2-guest-cpus4", fit for a file's name."""
    name = "-".join(re.sub(r"[^\w.-]+", "_", f"{axis}{value}") for axis, value in point.items())
    name = name[:60]
    return name if name not in taken else f"{name}-{len(taken)}"


def room_of(points: Mapping[str, Variant], axes: Collection[str]) -> Room:
    """For the point that wants the most CPUs; needed if it is CPUs, or what takes some, that are
    varied: a curve would tell of threads that share one."""
    if all((each.guest_cpus or 1) == each.path_options.queues == 1 for each in points.values()):
        return Room(0, 0, needed=False)  # the usual guest, to which the usual lab is fitted
    needed = not {"guest-cpus", "queues"}.isdisjoint(axes)
    rooms = [
        room(
            each.guest_cpus or 1,
            each.path_options.queues,
            each.streams or 1,
            f"the point {name}",
            needed=needed,
        )
        for name, each in points.items()
    ]
    largest = max(rooms, key=lambda each: each.guests)
    return dataclasses.replace(largest, others=max(each.others for each in rooms))
