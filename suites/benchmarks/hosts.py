"""Do several hosts find the same as one, and how much sooner?

`python -m suites.benchmarks.hosts DIR [-n N] [OPTIONS]`, by `make qualify-hosts`: N nested labs are
started as ordinary hosts of a lab.toml, which is all that `nicproof qualify` then knows of them. It
qualifies one of them, then all at once, with OPTIONS; the verdicts on each case are compared. There
are fewer if memory does not allow for N. On a machine with fewer than two CPUs a lab the labs wait
for one another, and so does the speed-up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.doctor.controller import LAB_MIB, available_mib
from harness.labs.nested.lab import open_nested_lab
from harness.records.cases import CaseRecord, load_cases
from harness.runs.suite import run_and_wait
from suites.lab_toml import host_table

UNUSABLE = 2
"""Our exit status if a qualification did not come to its end."""


def fitting(hosts: int, memory: int) -> int:
    """How many of so many labs there is room for in `memory` (MiB); what is less is told."""
    room = memory // LAB_MIB
    if room < hosts:
        print(f"{hosts} labs take {hosts * LAB_MIB} MiB; {memory} MiB are free, so {room} at most")
    return min(hosts, room)


def apart(one: Sequence[CaseRecord], many: Sequence[CaseRecord]) -> list[str]:
    """A line for each case on which the two do not agree."""
    first, second = ({case.id: case for case in cases} for cases in (one, many))
    return [
        f"{name}: {_verdict(first.get(name))} alone, {_verdict(second.get(name))} on many"
        for name in sorted({*first, *second})
        if _verdict(first.get(name)) != _verdict(second.get(name))
    ]


def _verdict(case: CaseRecord | None) -> str:
    return case.verdict if case is not None else "not run"


def shares(cases: Sequence[CaseRecord]) -> dict[str, tuple[int, float]]:
    """Host -> its cases, and the seconds that they took."""
    hosts = sorted({case.host for case in cases})
    mine = {host: [case.seconds for case in cases if case.host == host] for host in hosts}
    return {host: (len(seconds), sum(seconds)) for host, seconds in mine.items()}


def report(one: Sequence[CaseRecord], many: Sequence[CaseRecord], took: Mapping[str, float]) -> str:
    """What came of it, in a few lines; `took` in seconds, of "one" and "many"."""
    lines = [
        f"one host: {len(one)} cases in {took['one']:.0f} s",
        f"{len(shares(many))} hosts: {len(many)} cases in {took['many']:.0f} s, "
        f"{took['one'] / took['many']:.2f} times as fast, on {os.cpu_count()} CPUs",
        *(f"  {host}: {count} cases, {s:.0f} s" for host, (count, s) in shares(many).items()),
    ]
    return "\n".join([*lines, *(apart(one, many) or ["the verdicts are the same, case by case"])])


def main(argv: Sequence[str]) -> int:
    """Exit status 1 if the verdicts differ, 2 if there are none."""
    parser = argparse.ArgumentParser(prog="suites.benchmarks.hosts", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("-n", type=int, default=3, dest="hosts")
    given, options = parser.parse_known_args(argv)
    if given.directory.exists():
        parser.error(f"{given.directory} is there already; choose another, or remove it")
    hosts = fitting(given.hosts, available_mib())
    if hosts < 2:
        parser.error("it takes two labs at least: free some memory, or ask for more than one")
    given.directory.mkdir(parents=True)
    lab_toml = given.directory / "lab.toml"
    names = [f"lab{number}" for number in range(1, hosts + 1)]
    with ExitStack() as stack, lab_toml.open("w") as file:
        for name in names:
            logs = given.directory / name
            lab = stack.enter_context(open_nested_lab(run_dir=logs, progress=False))
            file.write(host_table(lab, name))
        file.flush()
        ways = {
            "one": (f"--lab={lab_toml}#{names[0]}",),
            "many": (f"--lab={lab_toml}", f"-n{hosts}"),
        }
        took = {}
        for way, chosen in ways.items():
            chosen = (*chosen, f"--run-dir={given.directory / way}", "--no-history", *options)
            begun = time.monotonic()
            status = run_and_wait([sys.executable, "-m", "harness.cli", "qualify", *chosen])
            took[way] = time.monotonic() - begun
            if status not in (0, 1):
                return UNUSABLE
    one, many = (load_cases(given.directory / way) for way in ways)
    print(report(one, many, took))
    return 1 if apart(one, many) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
