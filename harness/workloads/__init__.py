"""The workloads, in the order in which they are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.errors import ConfigError
from harness.core.units import Clock, Fidelity
from harness.workloads.base import Sizes, Workload
from harness.workloads.families import FAMILIES, MEMBERS, sized
from harness.workloads.iperf3 import IPERF3, Iperf3
from harness.workloads.latency import LATENCY
from harness.workloads.ndr import Ndr
from harness.workloads.pps import Pps

ALL: tuple[Sizes, ...] = (*IPERF3, LATENCY, *MEMBERS)
"""The idle baseline is no workload to choose: each guest has it."""

_BY_NAME = {each.name: each for each in ALL}
NAMES = tuple(_BY_NAME)

SHORT = (
    *(each.name for each in ALL if each not in MEMBERS),
    *(f"{family}-SIZE" for family in FAMILIES),
)
"""The same for people: a family of workloads that differ in the size of frames is one."""

USUAL = tuple(each.name for each in ALL if each.usual)
"""Those of a run that names none."""

SUMMARISED = tuple(each.name for each in ALL if each.usual and each.by_time.facts.summary)
"""Those of USUAL that are in the report's first table. A comparison of two configurations takes
these by itself, since fewer figures are decided by fewer blocks."""


def select(names: Sequence[str]) -> tuple[str, ...]:
    """These names, each once, in the order given; ConfigError for one that is no workload."""
    unknown = [name for name in names if _sizes(name) is None]
    if unknown or not names:
        message = ", ".join(repr(name) for name in unknown) or "nothing"
        raise ConfigError(
            f"--workloads: {message} is not a workload", remedy=f"choose from {', '.join(SHORT)}"
        )
    return tuple(dict.fromkeys(names))


def _sizes(name: str) -> Sizes | None:
    """The workload of this name: frames may have sizes that are not among NAMES."""
    return _BY_NAME.get(name) or sized(name)


def _chosen(name: str) -> Sizes:
    found = _sizes(name)
    if found is None:
        raise KeyError(name)
    return found


def known(name: str) -> bool:
    """Is there a workload of this name? The idle baseline is none."""
    return _sizes(name) is not None


def named(name: str) -> Workload:
    """The workload of this name, with its default parameters; KeyError if there is none."""
    return _chosen(name).by_time


def fitted(
    name: str,
    clock: Clock,
    *,
    fidelity: Fidelity = "hardware",
    udp_rate: int | None = None,
    streams: int = 1,
    pps: int | None = None,
) -> Workload:
    """The workload `name` with parameters fit for a host's clock; `udp_rate` in bit/s and `pps` in
    frames a second override, TCP goes in so many `streams`, frames come from so many CPUs. KeyError
    if there is none."""
    workload = _chosen(name).fitted(clock, fidelity)
    if isinstance(workload, Pps):
        return replace(workload, threads=streams, rate=pps or 0)
    if isinstance(workload, Ndr):
        return replace(workload, threads=streams)
    if not isinstance(workload, Iperf3):
        return workload
    if workload.name != "udp":
        return replace(workload, parallel=streams)
    return workload if udp_rate is None else replace(workload, rate=udp_rate)
