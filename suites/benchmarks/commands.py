"""What does a command on the lab's host take, by a command runner and by a login shell of its own?

Run by `make bench-commands`. Both are done in turn over one connection, in an order drawn from a
seed; printed is the ratio with its interval.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.hosts import ssh
from harness.hosts.base import Host
from harness.labs.nested.lab import open_nested_lab
from harness.stats.estimates import paired

PAIRS = 12
COMMANDS = 20
"""Of each pair, each way."""

RUNNER, ALONE = 0, 1 << 30
"""Commands that are done by login shells before there is a command runner."""


def seconds(host: Host, way: int) -> float:
    """Of one command."""
    ssh.PLAIN = way
    began = time.perf_counter()
    for _ in range(COMMANDS):
        host.run(("true",))
    return (time.perf_counter() - began) / COMMANDS


def main() -> None:
    draw = random.Random(1)
    found: dict[int, dict[int, float]] = {RUNNER: {}, ALONE: {}}
    with TemporaryDirectory() as logs, open_nested_lab(run_dir=Path(logs)) as lab:
        seconds(lab.host, RUNNER)  # which starts it
        for pair in range(PAIRS):
            for way in draw.sample((RUNNER, ALONE), 2):
                found[way][pair] = seconds(lab.host, way)
    result = paired(found[RUNNER], found[ALONE])
    alone = 1000 * sum(found[ALONE].values()) / PAIRS
    print(
        f"a command by a command runner takes {100 * result.ratio:.1f} % of the time of one alone "
        f"({alone:.0f} ms), 95 % interval {100 * result.low:.1f} to {100 * result.high:.1f} %, "
        f"{PAIRS} pairs of {COMMANDS}"
    )


if __name__ == "__main__":
    main()
