"""TEST DATA. A made-up run over a grid: no number here was ever measured.

It has the synthetic run's records, faster or slower at each point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from harness.core.units import MIB
from harness.records.run import Run
from harness.records.trial import CLIENT, PLACEMENT, TrialRecord, section
from suites.selftest.support.synthetic_run import make_run

NOISE = 0.004
"""Of a boot at a point, beside what its block has."""

Gains = Mapping[tuple[str, ...], float]
"""Values of the axes -> by how much throughput is that of the first point there."""


def make_sweep(
    axes: Sequence[str],
    gains: Gains,
    *,
    boots: int = 6,
    paths: Sequence[str] = ("virtio-vhost",),
    workloads: Sequence[str] = ("tcp-tx",),
    busy: float = 0.5,
    guest: float = 0.5,
) -> Run:
    """`busy` is the share of vhost's CPU, `guest` that of the guest's, each of which has one at
    each point."""
    info, records = make_run(boots, paths=paths, workloads=workloads, trials=1)
    random = np.random.default_rng(1)
    names = {values: "-".join(map("{}{}".format, axes, values)) for values in gains}
    trials: list[TrialRecord] = []
    for record in records:
        for values, gain in gains.items():
            noise = float(random.lognormal(0, NOISE))
            metrics = {
                name: value * (gain * noise if name == "throughput" else 1.0)
                for name, value in record.metrics.items()
            }
            halting = sum(each.cpu_ns or 0 for each in record.exits or () if each.reason == "hlt")
            spent = {
                "cpu.vhost_ns": round(busy * record.window_ns),
                "cpu.vcpu_ns": round(guest * record.window_ns) + halting,
            }
            trials.append(
                msgspec.structs.replace(
                    record,
                    index=len(trials),
                    variant=names[values],
                    metrics=metrics,
                    counters=record.counters | spent,
                    parameters={"bytes": str(128 * MIB), "parallel": "4"},
                    instruments={CLIENT: "3.18, a thread for each stream"},
                )
            )
    info = msgspec.structs.replace(
        info,
        axes=tuple(axes),
        variants={name: dict(zip(axes, values, strict=True)) for values, name in names.items()},
        environment=info.environment
        | {section(PLACEMENT, name): {"vhost": "7", "vCPUs": "8"} for name in names.values()},
    )
    return Run(info, tuple(trials))
