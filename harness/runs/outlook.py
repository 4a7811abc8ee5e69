"""What so many figures and blocks of two configurations allow, told before anything is booted."""

from __future__ import annotations

from itertools import product

from harness import paths, workloads
from harness.records import ablation
from harness.runs.options import BenchOptions

_TYPICAL = 2.0
"""A change of 3 %, the smaller margin, where boots vary by 1 % and so their differences by 1.4."""


def first_look(run: BenchOptions) -> int | None:
    """Blocks after which a figure can be decided at the earliest; None if not in this run."""
    from harness.comparison.sequential_pairs import LEVEL  # late: scipy takes a second
    from harness.stats import sequential

    return sequential.first(run.boots, LEVEL)


def outlook(run: BenchOptions) -> str:
    """In a sentence: how many figures may decide, and after how many blocks."""
    from harness.comparison.sequential_pairs import LEVEL
    from harness.stats import sequential

    count = deciding(run)
    message = f"{count} figure{'s' * (count != 1)} may decide, in {run.boots} blocks at most"
    first = first_look(run)
    if first is None:
        fewest = next(n for n in range(run.boots, 100) if sequential.first(n, LEVEL))
        return f"{message}, which are too few to decide any: give --max-blocks {fewest} or more"
    typical = sequential.likely(_TYPICAL, count, run.boots, LEVEL, run.boots)
    about = f"about {typical}" if typical <= run.boots else f"more than {run.boots}"
    return (
        f"{message}: {first} are needed at least, {about} to tell a change of {_TYPICAL:g} times "
        "what a block varies by"
    )


def deciding(run: BenchOptions) -> int:
    """How many figures decide, if each path gives all that it can."""
    if run.deciding:
        return len(run.deciding)
    pairs = product(run.paths, run.workloads)
    if run.ablation:
        expected = ablation.BY_NAME[run.ablation].expected
        return sum(each.of(workload) for _, workload in pairs for each in expected)
    guests = {path.name: path.has_guest for path in paths.select(run.paths)}
    # A guest gives its exits per packet besides.
    return sum(len(workloads.named(load).primary) + guests[path] for path, load in pairs)
