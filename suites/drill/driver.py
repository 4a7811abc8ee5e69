"""A harness that fares as its plan says: `python -m suites.drill.driver PLAN`.

It provisions a path on a host as a run does, through the harness's own code, and undoes it; all
that it asks of the host is numbered on the way. A process of its own, since it may be killed. Exit
status and last words are those of `nicproof`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from unittest.mock import patch

import msgspec

from harness import paths
from harness.core.deadline import Deadline
from harness.core.errors import HarnessError
from harness.guest.boot import started
from harness.hosts.base import CommandResult, Host, Process
from harness.inventory import LinkPlan
from harness.inventory.spec import HostSpec
from harness.journal.journal import Journal
from harness.labs.base import Lab
from harness.labs.choice import RealChoice, choose
from harness.labs.reach import reached
from harness.labs.real.lab import open_real_lab
from harness.paths.base import PathOptions
from harness.paths.partner import partner
from harness.qemu.argv import RUN
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import GuestConfig
from suites.drill.plan import Phase, Plan, Step

START_LIMIT = 60.0
"""Seconds for QEMU to start; nobody waits for the guest in it."""

KILL_GUEST = 'for file in "$1"/*/qemu.pid; do read -r pid <"$file" && kill -KILL "$pid"; done; :'

FILL = 'dd if=/dev/zero of="$1" bs=4096 2>/dev/null; :'

SILENT = "silent"
"""In the directory of a plan: the process id of the ssh that was stopped and lives on."""

HOST_DISK = "/run/small"
"""Of the host: a small disk, for which `suites.drill.exercise` has seen."""


@dataclass
class Course:
    """Where a run is, and what befalls it."""

    plan: Plan
    strike: Callable[[Host], None]
    phase: Phase = "opening"
    steps: list[Step] = field(default_factory=list)
    guest: bool = False

    def step(self, host: Host, *words: str) -> None:
        """The next step is about to be made."""
        what = " ".join(" ".join(words).split())[:100]
        self.steps.append(Step(len(self.steps) + 1, self.phase, what, self.guest))
        self.guest = self.guest or "-daemonize" in words
        if len(self.steps) == self.plan.step:
            self.strike(host)


@dataclass(frozen=True)
class NumberedHost:
    """A Host whose uses are steps of a course."""

    host: Host
    course: Course

    @property
    def name(self) -> str:
        return self.host.name

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        self.course.step(self.host, *argv)
        return self.host.run(argv, timeout=timeout, stdin=stdin, check=check)

    def spawn(self, argv: Sequence[str]) -> AbstractContextManager[Process]:
        self.course.step(self.host, "spawn", *argv)
        return self.host.spawn(argv)

    def read(self, path: str) -> bytes:
        self.course.step(self.host, "read", path)
        return self.host.read(path)

    def write(self, path: str, data: bytes) -> None:
        self.course.step(self.host, "write", path)
        self.host.write(path, data)

    def exists(self, path: str) -> bool:
        self.course.step(self.host, "exists", path)
        return self.host.exists(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        self.course.step(self.host, "glob", pattern)
        return self.host.glob(pattern)

    def forward(self, path: str) -> AbstractContextManager[str]:
        self.course.step(self.host, "forward", path)
        return self.host.forward(path)


def striking(plan: Plan) -> Callable[[Host], None]:
    """What the plan's fault does to a run on a host."""

    def soon(act: Callable[[], object]) -> None:
        Timer(plan.delay, act).start()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fall_silent() -> None:
        if master := signal_master(signal.SIGSTOP):  # else the run is over, and is made again
            (Path(plan.directory) / SILENT).write_text(master)
            die()

    match plan.fault:
        case "killed" | "killed twice":
            return lambda _: die()
        case "killed in flight":
            return lambda _: soon(die)
        case "cut":
            return lambda _: soon(lambda: signal_master(signal.SIGKILL))
        case "silent":
            return lambda _: soon(fall_silent)
        case "guest killed":
            return lambda host: _run(host, KILL_GUEST, RUN)
        case "host full":
            return lambda host: _run(host, FILL, f"{HOST_DISK}/fill")
        case "controller full":
            return lambda _: fill(Path(plan.directory) / "fill")
        case None:
            return lambda _: None


def _run(host: Host, script: str, argument: str) -> None:
    host.run(("sh", "-c", script, "sh", argument))


def signal_master(number: int) -> str:
    """Send a signal to the ssh that holds the connection, a child of ours; its process id, "" if it
    has ended by itself."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            with suppress(OSError):  # a command has ended meanwhile
                if b"-M" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    os.kill(int(pid), number)
                    return pid
    return ""


def fill(path: Path) -> None:
    """Leave no room on the disk."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


@contextmanager
def provisioned(lab: Lab, course: Course) -> Iterator[None]:
    """The path of the plan on the lab's host, with the link partner and, on most, a guest."""
    plan, host = course.plan, lab.host
    (path,) = paths.select((plan.path,))
    journal = Journal(host, plan.run, may=lab.ports.may, binding=lab.ports.binding)
    with closing(journal):
        course.phase = "partner"
        with partner(host, lab.ports.partner, LinkPlan(), journal):
            course.phase = "path"
            with path.provision(host, lab.ports, journal, PathOptions()) as attachment:
                course.phase = "guest"
                with _guest(lab, attachment, journal, Path(plan.directory) / "logs"):
                    course.phase = "leaving"
                    yield


def _guest(
    lab: Lab, attachment: NicAttachment, journal: Journal, logs: Path
) -> AbstractContextManager[object]:
    if not attachment.is_guest:
        return nullcontext()
    config = GuestConfig(lab.guest, name="drill", cpus=lab.cpus)
    deadline = Deadline(START_LIMIT, "the start of the guest")
    return started(
        lab.host, config, (attachment,), log_dir=logs, deadline=deadline, journal=journal
    )


def fare(plan: Plan) -> list[Step]:
    """Carry out the plan; the steps that it took. Raises as a run would."""
    choice = choose(plan.lab)
    assert isinstance(choice, RealChoice)
    course = Course(plan, striking(plan))

    @contextmanager
    def numbered(spec: HostSpec) -> Iterator[Host]:
        with reached(spec) as host:
            yield NumberedHost(host, course)

    with (
        patch("harness.labs.real.lab.reached", numbered),
        open_real_lab(choice, run=plan.run, progress=False) as lab,
        provisioned(lab, course),
    ):
        pass
    return course.steps


def main(plan: str) -> int:
    try:
        steps = fare(msgspec.json.decode(plan, type=Plan))
    except HarnessError as error:
        print(f"nicproof: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
