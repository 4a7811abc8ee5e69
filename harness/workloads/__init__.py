"""The workloads, in the order in which they are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.errors import ConfigError
from harness.core.units import Clock, Fidelity
from harness.workloads.base import Sizes, Workload
from harness.workloads.families import FAMILIES, MEMBERS, sized
from harness.workloads.iperf3 import IPERF3, asked_for
from harness.workloads.latency import LATENCY
from harness.workloads.ndr import Ndr
from harness.workloads.pps import Pps
from harness.workloads.rr import RR, RequestResponse
from harness.workloads.traffic import Traffic

ALL: tuple[Sizes, ...] = (*IPERF3, LATENCY, *RR, *MEMBERS)
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

USUAL_ON_HARDWARE = tuple(each.name for each in ALL if each.usual or each.usual_on_hardware)
"""The same on a real host."""

USUAL_TRAFFIC = Traffic()

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
    name: str, clock: Clock, *, fidelity: Fidelity = "hardware", traffic: Traffic = USUAL_TRAFFIC
) -> Workload:
    """The workload `name` with parameters fit for a host's clock, but for what was asked for of its
    traffic; frames come from as many CPUs as there are streams. KeyError if there is none."""
    workload = asked_for(_chosen(name), clock, fidelity, traffic)
    threads = traffic.streams or 1
    match workload:
        case RequestResponse():
            return replace(workload, exchange=traffic.exchange)
        case Pps():
            return replace(workload, threads=threads, rate=traffic.pps or 0)
        case Ndr():
            return replace(workload, threads=threads)
    return workload
