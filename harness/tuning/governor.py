"""The frequency of the CPUs: as high as it goes for the length of a run.

Documentation/admin-guide/pm/cpufreq.rst; energy_performance_preference is that of intel_pstate and
amd_pstate (intel_pstate.rst, amd-pstate.rst beside it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.inventory.view import ranges
from harness.journal.journal import Journal, UndoCommand

WANTED = "performance"
GOVERNOR, PREFERENCE = "scaling_governor", "energy_performance_preference"

NONE = "left as it is: no cpufreq: firmware, or a host below, sets the pace"

PUT = """
while [ $# -gt 1 ]; do
    [ ! -e "$1" ] || printf %s "$2" >"$1" || failed=1
    shift 2
done
exit ${failed-0}
"""
"""Write values to files, in turns of path and value; what fails does not keep the rest back."""


@contextmanager
def performance(host: Host, cpus: Sequence[int], journal: Journal) -> Iterator[str]:
    """The governor of `cpus` set to performance; afterwards as before, value by value.

    Yields what has come of it, in words. MissingCapability if it may not be changed.
    """
    journal.permit("tune")
    before = _values(host, cpus, GOVERNOR)
    if not before:
        yield NONE
        return
    # A driver may take its preference along with the governor, and take no other one while the
    # governor is performance (amd_pstate): so the governors are put back first.
    prior = (*before.items(), *_values(host, cpus, PREFERENCE).items())
    undo = UndoCommand(("sh", "-c", PUT, "sh", *(word for pair in prior for word in pair)))
    with journal.change(f"set the governor of CPUs {ranges(tuple(cpus))} to {WANTED}", (undo,)):
        wanted = (word for path in before for word in (path, WANTED))
        refused = host.run(("sh", "-c", PUT, "sh", *wanted), check=False).error.strip()
        yield describe(before, _values(host, cpus, GOVERNOR), refused)


def _values(host: Host, cpus: Sequence[int], name: str) -> dict[str, str]:
    """Path -> value, of the CPUs that have it."""
    paths = [f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}" for cpu in cpus]
    found = host.run(("grep", "-sH", "", *paths), check=False).text
    pairs = (line.partition(":") for line in found.splitlines())
    return {path: value for path, _, value in pairs}


def describe(before: dict[str, str], after: dict[str, str], refused: str) -> str:
    """In words, from path -> value."""
    was = f"before: {', '.join(sorted(set(before.values())))}"
    others = sorted(set(after.values()) - {WANTED})
    if not others:
        return f"{WANTED} ({was})"
    why = f": {refused.splitlines()[-1]}" if refused else ""
    return f"{', '.join(others)}, not everywhere {WANTED} ({was}){why}"
