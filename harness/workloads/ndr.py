"""The highest rate at which frames of one size cross a path: without loss (NDR), and with hardly
any (PDR, 0.5 %), as FD.io's CSIT has them after RFC 2544, section 26.1.

A workload of many windows: harness.measure.search sends frames at one rate after another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from harness.core.facts import WorkloadFacts
from harness.window.window import Command
from harness.workloads.base import Frames, ParsedOutput, Sizes, Target, require_positive
from harness.workloads.pps import EMULATED_MARGIN_S, STANDARD, Pps

GOALS = {"ndr": 0.0, "pdr": 0.005}
"""Metric -> the share of frames that may be lost."""

WIDTH = 0.005
"""Of the interval in which a rate is known in the end, relative to it."""

_NAME = re.compile(r"ndr-([1-9]\d*|imix)")


@dataclass(frozen=True)
class Ndr:
    """A search by frames of `size` bytes with FCS, 0 for IMIX, in trials of `first` to `last`
    seconds each; before it come as many frames as can be: `flooding` of them, or with 0 for `last`
    seconds."""

    size: int
    first: float = 1.0
    last: float = 10.0
    flooding: int = 0
    threads: int = 1
    margin: float = 60.0

    def __post_init__(self) -> None:
        require_positive(self.name, first=self.first, last=self.last)
        _ = self.flood  # which refuses what no frames are

    @property
    def name(self) -> str:
        return f"ndr-{self.size or 'imix'}"

    @property
    def flood(self) -> Pps:
        """As many frames as can be."""
        return Pps(
            self.size,
            count=self.flooding,
            seconds=self.last,
            threads=self.threads,
            margin=self.margin,
        )

    def step(self, rate: int, seconds: float) -> Pps:
        """So many frames a second."""
        return replace(self.flood, count=0, rate=rate, seconds=seconds)

    @property
    def facts(self) -> WorkloadFacts:
        what = f"frames of {self.size} bytes" if self.size else "frames of IMIX"
        return WorkloadFacts(phrase=f"Searching the rate of {what}", summary=tuple(GOALS))

    @property
    def frames(self) -> Frames:
        return self.flood.frames

    @property
    def primary(self) -> tuple[str, ...]:
        return ("ndr",)

    @property
    def parameters(self) -> dict[str, str]:
        return {
            "size": self.flood.parameters["size"],
            "search": "MLRsearch",
            "width": f"{WIDTH:.1%}",
            "seconds": f"{self.first:g} to {self.last:g}",
            "threads": str(self.threads),
        }

    def server(self, target: Target) -> tuple[str, ...]:
        return self.flood.server(target)

    def command(self, target: Target) -> Command:
        return self.flood.command(target)

    def parse(self, stdout: str, stderr: str, rc: int | None) -> ParsedOutput:
        return self.flood.parse(stdout, stderr, rc)


def _sizes(size: int) -> Sizes:
    workload = Ndr(size)
    short = replace(workload, first=0.1, last=0.1, flooding=50_000, margin=EMULATED_MARGIN_S)
    return Sizes(by_time=workload, by_size=short, emulated=short, usual=False)


FAMILY = "ndr"
NDR = tuple(_sizes(size) for size in (*STANDARD, 0))
"""By the virtual clock a trial repeats, and what waits in queues at its end counts as lost, so a
tenth of a second tells what ten tell elsewhere."""


def sized(name: str) -> Sizes | None:
    """The workload of this name, as harness.workloads.pps.sized."""
    found = _NAME.fullmatch(name)
    return _sizes(0 if found[1] == "imix" else int(found[1])) if found else None
