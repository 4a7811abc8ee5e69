"""What a report has to know of a path and of a workload. Each declares its own, and a run carries
those of its own, so that a report knows what no report was written for."""

from __future__ import annotations

from typing import Literal

import msgspec

PathKind = Literal["native", "emulated", "virtio", "passthrough", "vf", "other"]
"""Paths of a kind reach the guest in one way: claims and likely causes speak of kinds."""


class PathFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a path."""

    kind: PathKind = "other"
    colour: str = ""
    """In every figure, as "#rrggbb"; of the sets that reports.run.style names. "": a spare one."""


class WorkloadFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a workload."""

    phrase: str = ""  # how a sentence about it begins, e.g. "Sending TCP"
    summary: tuple[str, ...] = ()  # its metrics in the report's first table; most have none
    paced: bool = False  # does it pause between packets, so that its time is mostly waiting?
