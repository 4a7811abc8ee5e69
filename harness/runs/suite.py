"""Starting a suite or the reports, for the commands that are thin doors to them.

The harness imports neither pytest nor a plot library: it waits for them, or becomes them.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from harness.core import signals
from harness.core.deadline import Deadline
from harness.core.errors import ConfigError
from harness.core.status import Status
from harness.core.xdg import cache_root, cached
from harness.runs.asked import OPTIONS, Asked
from harness.runs.claim import DOCUMENT_OPTION, FILENAME, PUTTING_BACK, claim

ROOT = Path(__file__).resolve().parents[2]
"""What holds our rooms: a checkout, or where packages are installed."""

ROOTED = (f"--rootdir={ROOT}", f"-c{ROOT / 'fixtures' / 'pytest.toml'}", "-pfixtures.plugins")
"""By which pytest finds its configuration, our plugins and nothing but our suites, whatever lies in
the current directory."""

TRACKED_BY = ("RUNNER_TRACKING_ID", "JENKINS_NODE_COOKIE")
"""Of GitHub's runner (Runner.Worker/JobExtension.cs), and of Jenkins (its ProcessTreeKiller)."""

PATIENCE = 5.0
"""Seconds: GitHub's runner, the least patient, kills what has not ended 7.5 s after its SIGINT."""


def run_suite(name: str, asked: Asked, arguments: Sequence[str]) -> int:
    """Run pytest on suites/`name`, for a run that is claimed here; the exit status."""
    argv, run_dir = suite_argv(name, asked, arguments)
    return run_and_wait(argv, run_dir / PUTTING_BACK)


def suite_argv(name: str, asked: Asked, arguments: Sequence[str]) -> tuple[list[str], Path]:
    """pytest on suites/`name`, with a line a result and our exit statuses (fixtures.__main__), and
    the directory of the run, claimed for what was asked: pytest reads it there, and junit.xml goes
    there. `arguments` are pytest's own.

    ConfigError if the directory cannot be had, or one of the arguments is an option of ours.
    """
    own = {*(each.flag for each in OPTIONS), DOCUMENT_OPTION}
    for argument in arguments:
        if (flag := argument.partition("=")[0]) in own:
            raise ConfigError(f"{flag}: it is not pytest's", remedy="give it before the --")
    _, run_dir = claim(asked)
    return [*_pytest(name, run_dir / FILENAME), *arguments], run_dir


def _pytest(name: str, document: Path) -> list[str]:
    """pytest's command line on suites/`name`, up to the arguments that are its own."""
    with suppress(OSError):  # then pytest keeps no cache
        cached(cache_root())
    argv = [*python("fixtures"), *ROOTED, "-o", f"cache_dir={cache_root() / 'pytest'}"]
    # Quiet twice: pytest's count of tests would come after the verdict.
    shown = ["--progress", "--capture=no", "-qq"]
    # pytest's summary would tell each error again, whole where $CI is set.
    shown += ["-rN", f"--junit-xml={document.parent / 'junit.xml'}"]
    shown.append(f"{DOCUMENT_OPTION}={document}")
    return [*argv, str(ROOT / "suites" / name), *shown]


def resume_suite(name: str, asked: Asked, document: Path, arguments: Sequence[str]) -> int:
    """Run pytest on suites/`name` for a run that was taken up (claim.take_up); the exit status.

    ConfigError if its document cannot be written.
    """
    try:
        document.write_bytes(msgspec.json.format(msgspec.json.encode(asked), indent=2) + b"\n")
    except OSError as error:
        raise ConfigError(f"--resume: {document} cannot be written: {error.strerror}") from error
    return run_and_wait([*_pytest(name, document), *arguments], document.parent / PUTTING_BACK)


def not_together() -> ConfigError:
    """Of several workers in a comparison."""
    return ConfigError(
        "-n: a comparison takes one host, and has it to itself",
        remedy="start one for each host: --lab FILE#HOST",
    )


def workers_of(arguments: Sequence[str]) -> str:
    """What pytest-xdist's -n says among arguments for pytest: a number, "auto", "" if nothing."""
    found = re.search(r"(?:^| )(?:-n[ =]?|--numprocesses[ =])(\w+)", " ".join(arguments))
    return found[1] if found else ""


def python(module: str) -> tuple[str, ...]:
    """argv prefix of a program of ours. -P: a directory of that name where the user is, `reports`
    say, is none of ours."""
    return (sys.executable, "-P", "-m", module)


def exec_module(module: str, arguments: Sequence[str]) -> NoReturn:
    """Become a program of ours."""
    sys.stdout.flush()
    os.execv(sys.executable, [*python(module), *arguments])


def run_and_wait(argv: Sequence[str], log: Path | None = None) -> int:
    """Start a program of ours on this terminal and wait for it; its exit status.

    It is in a session of its own, so what tells us to end tells only us. We hand it on, and wait
    as long as whoever told us may have patience; what is not put back by then the program puts
    back without us, and says in `log` what it says.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    heeded = signals.heeded()
    waited_for = (*heeded, signal.SIGCHLD)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        # Blocked until it is ready for them: harness.core.signals.unwind_when_told.
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            _untracked(os.environ),
            setsid=True,
            setsigmask=signals.ENDING,
            setsigdef=signals.ENDING,
        )
        patience: Deadline | None = None
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            came = _next(waited_for, patience)
            if came is None:
                _leave(pid, log)
                return Status.INTERRUPTED
            if came.si_signo in heeded:
                os.kill(pid, came.si_signo)
                patience = patience or Deadline(PATIENCE, "the putting back")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return _told(os.waitstatus_to_exitcode(ended[1]), interrupted=patience is not None)


def _next(waited_for: Collection[int], patience: Deadline | None) -> signal.struct_siginfo | None:
    """The next of these signals that comes; None if patience is at its end."""
    if patience is None:
        return signal.sigwaitinfo(waited_for)
    return signal.sigtimedwait(waited_for, patience.left)


def _untracked(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the marks by which a CI system finds what a job has started, and kills it."""
    return {name: text for name, text in environment.items() if name not in TRACKED_BY}


def _leave(pid: int, log: Path | None) -> None:
    goes_on = f"process {pid} goes on putting back what was changed"
    message = f"nicproof: interrupted; {goes_on}{f': see {log}' if log else ''}"
    with suppress(OSError):  # a terminal that is gone
        print(message, file=sys.stderr, flush=True)


def _told(code: int, interrupted: bool) -> int:
    """The exit status of a program as a status of ours; a signal that ended it is none, nor is what
    somebody in it made up."""
    if code in set(Status):
        return code
    if code < 0 and interrupted:
        return Status.INTERRUPTED
    what = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    print(
        f"nicproof: the run was ended {what}, which is no verdict\n"
        "  remedy: put back what it may have left: nicproof restore",
        file=sys.stderr,
    )
    return Status.CRASHED
