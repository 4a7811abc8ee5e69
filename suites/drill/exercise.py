"""The drill on a host: a run is struck, `nicproof restore` is called, the host is looked at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired
from harness.hosts.base import CommandResult, Host
from harness.hosts.local import LocalHost
from harness.labs.nested.lab import NestedLab
from harness.qualify.checks.digest import State, differences, digest
from harness.runs.suite import ROOT
from suites.drill.driver import HOST_DISK, SILENT
from suites.drill.plan import DEADLY, FAULTS, Plan, Point, Step
from suites.selftest.support.l1_host import NICPROOF, inventory, nicproof

DRIVER = (sys.executable, "-m", "suites.drill.driver")

LIMIT = 150.0
"""Seconds for a driver to end, whatever befell it; 3 to 8 on two idle cores."""

ATTEMPTS = 4
"""Runs that may be over before what was to befall them."""

SETTLED = 3.0
"""Seconds that the kernel may take to finish what restore has asked of it."""

PLACES = ("/var/lib/nicproof", "/run/nicproof", "/run/lock/nicproof")
"""Where the harness keeps files on a host that are not a cache."""

MOUNT = """
disk=$1
shift
mkdir -p "$disk" && mount -t tmpfs -o size=1m small "$disk" || exit
for place; do
    mkdir -p "$place" "$disk/$place" && mount --bind "$disk/$place" "$place" || exit
done
"""

SMALL = """
mount -t tmpfs -o size=1m small "$1" || exit
export TMPDIR="$1" XDG_RUNTIME_DIR="$1"
shift
exec "$@"
"""

ON_SMALL_DISK = ("unshare", "--mount", "--map-root-user", "sh", "-c", SMALL, "sh")
"""Before a directory and a command: the directory is a small disk of its own, and the command has
its temporary files there."""


@dataclass(frozen=True)
class Struck:
    """What came of a point; no problems if all was well."""

    point: Point
    problems: tuple[str, ...]
    seconds: float


@dataclass
class Exercise:
    """A host of an inventory, and how it was before."""

    host: Host
    lab_toml: Path
    before: State
    outcomes: list[Struck] = field(default_factory=list)
    _runs: Iterator[int] = field(default_factory=count)

    def steps(self, path: str) -> list[Step]:
        """Those of a run that nothing befalls."""
        with self._plan(path) as plan:
            result = driven(plan)
        assert result.returncode == 0, result.error
        return _steps(result)

    def undergo(self, point: Point) -> Struck:
        """Let a run fare like that and restore the host.

        AssertionError if it is not even as before when it is restored a second time.
        """
        begin = time.monotonic()
        with self._struck(point) as (plan, result):
            problems = [*_ended(plan, result), *self._restored(plan)]
        if plan.fault == "host full":
            self.host.run(("rm", "-f", f"{HOST_DISK}/fill"))
        changed = self.changed()
        if changed:
            self._restore()
            assert not (left := self.changed()), f"{point}: {left}"
        outcome = Struck(point, (*problems, *changed), time.monotonic() - begin)
        self.outcomes.append(outcome)
        return outcome

    @contextmanager
    def _struck(self, point: Point) -> Iterator[tuple[Plan, CommandResult]]:
        """A run to which it happened, and how that ended. No two runs take quite as many steps,
        since what is waited for is asked for until it is there; one that was over before its step
        is made again, and struck sooner."""
        step = point.step.number
        for _ in range(ATTEMPTS):
            with self._plan(point.path) as plan:
                plan = replace(plan, fault=point.fault, step=step, delay=point.delay)
                result = driven(plan)
                taken = len(_steps(result)) if result.returncode == 0 else None
                if taken is None or (step <= taken and plan.fault not in DEADLY):
                    yield plan, result
                    return
            step = min(step, taken) - 1
        raise AssertionError(f"{point}: {ATTEMPTS} runs were over before it")

    def changed(self) -> tuple[str, ...]:
        """What is not as it was before."""
        left: tuple[str, ...] = ()

        def same() -> bool:
            nonlocal left
            left = differences(self.before, digest(self.host))
            return not left

        try:
            Deadline(SETTLED, "the host as before").poll(same, interval=0.5)
        except DeadlineExpired:
            return left
        return ()

    @contextmanager
    def _plan(self, path: str) -> Iterator[Plan]:
        """For a run that nothing befalls; what it left running here ends with the context."""
        with tempfile.TemporaryDirectory(prefix="np", dir="/tmp") as directory:
            yield Plan(str(self.lab_toml), f"drill-{next(self._runs)}", path, directory)
            silent = Path(directory) / SILENT
            if silent.exists():
                with suppress(ProcessLookupError):
                    os.kill(int(silent.read_text()), signal.SIGKILL)

    def _restored(self, plan: Plan) -> Iterator[str]:
        """What `restore` said, if it should not have."""
        if plan.fault == "silent" and "left alone" not in (message := _message(self._restore())):
            yield f"restore did not see that the run may still be there: {message}"
        if plan.fault == "killed twice":
            self._restore_killed(plan.delay)
        result = self._restore(*(("--gone", plan.run) if plan.fault == "silent" else ()))
        message = _message(result)
        if result.returncode != 0 or "left alone" in message:
            yield f"restore ended with status {result.returncode}: {message}"
        elif plan.fault not in (*DEADLY, "cut") and message != "l1: nothing to restore":
            yield f"the run lived, and left to restore: {message}"

    def _restore(self, *options: str) -> CommandResult:
        return nicproof("restore", "l1", "--inventory", str(self.lab_toml), *options)

    def _restore_killed(self, seconds: float) -> None:
        """`restore`, killed after so many seconds unless it is done by then."""
        argv = (*NICPROOF, "restore", "l1", "--inventory", str(self.lab_toml))
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.kill()


def driven(plan: Plan) -> CommandResult:
    """A run of the driver."""
    place = (*ON_SMALL_DISK, plan.directory) if plan.fault == "controller full" else ()
    argv = (*place, *DRIVER, msgspec.json.encode(plan).decode())
    return LocalHost(env={"PYTHONPATH": str(ROOT)}).run(argv, timeout=LIMIT, check=False)


def _steps(result: CommandResult) -> list[Step]:
    """Of a run that came to its end."""
    return msgspec.json.decode(result.stdout, type=list[Step])


def _ended(plan: Plan, result: CommandResult) -> Iterator[str]:
    """How a run ended, if that is not as it should."""
    killed, output = result.returncode == -signal.SIGKILL, result.error.strip()
    if killed != (plan.fault in DEADLY):
        yield f"the run ended with status {result.returncode}: {output}"
    elif not killed and (output if result.returncode == 0 else not output.startswith("nicproof: ")):
        yield f"the run did not say clearly why it ended: {output}"


def _message(result: CommandResult) -> str:
    return (result.text + result.error).strip()


@contextmanager
def exercise(lab: NestedLab, directory: Path) -> Iterator[Exercise]:
    """L1 of the nested lab for the drill, what the harness keeps there on a small disk."""
    lab.host.run(("sh", "-c", MOUNT, "sh", HOST_DISK, *PLACES))
    try:
        yield Exercise(lab.host, inventory(lab, directory), digest(lab.host))
    finally:
        lab.host.run(("umount", *PLACES, HOST_DISK))


def table(outcomes: Sequence[Struck]) -> Iterator[str]:
    """Path by fault: points, and how many of them failed."""
    names = sorted({outcome.point.path for outcome in outcomes})
    yield " ".join((f"{'':<13}", *(f"{fault:>16}" for fault in FAULTS)))
    for path in names:
        cells = []
        for fault in FAULTS:
            of = [one for one in outcomes if (one.point.path, one.point.fault) == (path, fault)]
            bad = sum(bool(one.problems) for one in of)
            cells.append(f"{len(of)}, {bad} failed" if bad else f"{len(of)}")
        yield " ".join((f"{path:<13}", *(f"{cell:>16}" for cell in cells)))
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    yield f"{len(outcomes)} points, {failed} failed, {seconds / 60:.1f} minutes"
