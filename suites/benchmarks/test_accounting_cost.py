"""What does exit accounting itself cost? The same trial with it and without it, in turn.

Run by `make bench-accounting`. It asserts nothing about the cost: it prints the ratio with its
interval, for the README and for whoever doubts the counts. Pairs within one boot are the blocks
here, since both sides share everything but the accounting; their order is drawn from the seed.
"""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest

from fixtures.common.progress import Progress
from harness.exits.accounting import exit_accounting
from harness.measure.plan import PlannedBoot
from harness.measure.runner import Bench, boot_path
from harness.stats.estimates import paired
from harness.workloads import fitted

PAIRS = 12
PATHS = ("sriov", "virtio-vhost")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["tcp-tx", "tcp-rx"])
def test_throughput_with_and_without_accounting(
    path: str, kind: str, bench: Bench, progress: Progress
) -> None:
    """Prints throughput with accounting as a ratio of throughput without."""
    workload = fitted(kind, bench.info.clock, fidelity=bench.info.fidelity)
    draw = random.Random(bench.info.seed)
    found: dict[bool, dict[int, float]] = {True: {}, False: {}}
    with boot_path(replace(bench, accounting=False), PlannedBoot(0, path, 0)) as place:
        assert place.endpoint.guest is not None
        plain = place.watch
        place.trial(workload, warmup=True)
        for pair in range(PAIRS):
            progress.say(f"{path} {kind}: pair {pair + 1} of {PAIRS}")
            for counted in draw.sample((True, False), 2):
                with exit_accounting(bench.host, place.endpoint.guest.vcpu_tids) as probe:
                    near = (*plain.near, probe) if counted else plain.near
                    place.watch = replace(plain, near=near)
                    record = place.trial(workload, trial=pair)
                assert record.valid, record.reasons
                assert (record.exits is not None) == counted
                found[counted][pair] = record.metrics["throughput"]
    result = paired(found[True], found[False])
    line = (
        f"{path} {kind}: throughput with accounting is {100 * result.ratio:.2f} % of that without, "
        f"95 % interval {100 * result.low:.2f} to {100 * result.high:.2f} %, {PAIRS} pairs"
    )
    progress.line(line)
    file = bench.logs.parent / "accounting-cost.jsonl"
    with file.open("a") as out:
        out.write(
            msgspec.json.encode(
                {"path": path, "workload": kind, "ratio": result.ratio}
                | {"low": result.low, "high": result.high, "pairs": PAIRS}
            ).decode()
            + "\n"
        )
