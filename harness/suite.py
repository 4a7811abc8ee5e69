"""Starting a suite or the reports, for the commands that are thin doors to them.

The harness imports neither pytest nor a plot library: it becomes them, or waits for them.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from harness.claim import DOCUMENT_OPTION, FILENAME, claim
from harness.errors import ConfigError
from harness.options import OPTIONS, Asked
from harness.xdg import cache_root

ROOT = Path(__file__).resolve().parent.parent
"""What holds our rooms: a checkout, or where packages are installed."""

ROOTED = (f"--rootdir={ROOT}", f"-c{ROOT / 'fixtures' / 'pytest.toml'}")
"""By which pytest finds its configuration and nothing but our suites, whatever lies in the current
directory."""


def run_suite(name: str, asked: Asked, arguments: Sequence[str]) -> NoReturn:
    """Become pytest on suites/`name`, for a run that is claimed here."""
    argv, _ = suite_argv(name, asked, arguments)
    sys.stdout.flush()
    os.execv(sys.executable, argv)


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
    argv = [*python("fixtures"), *ROOTED, "-o", f"cache_dir={cache_root() / 'pytest'}"]
    shown = ["--progress", "--capture=no", "--quiet"]
    # pytest's summary would tell each error again, whole where $CI is set.
    shown += ["-rN", f"--junit-xml={run_dir / 'junit.xml'}"]
    shown.append(f"{DOCUMENT_OPTION}={run_dir / FILENAME}")
    return [*argv, str(ROOT / "suites" / name), *shown, *arguments], run_dir


def workers_of(arguments: Sequence[str]) -> str:
    """What pytest-xdist's -n says among arguments for pytest: a number, "auto", "" if nothing."""
    found = re.search(r"(?:^| )(?:-n[ =]?|--numprocesses[ =])(\w+)", " ".join(arguments))
    return found[1] if found else ""


def python(module: str) -> tuple[str, ...]:
    """argv prefix of a program of ours. -P: a directory of that name where the user is, `reports`
    say, is none of ours."""
    return (sys.executable, "-P", "-m", module)


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Become a program of ours."""
    sys.stdout.flush()
    os.execv(sys.executable, [*python(module), *arguments])


def run_to_its_end(argv: list[str]) -> int:
    """Start a program on this terminal and wait for it; its exit status.

    Ctrl-C reaches it as well, and it is the one that has to clean up; SIGTERM is handed on.
    """
    sys.stdout.flush()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda number, _: os.kill(pid, number))
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
    return os.waitstatus_to_exitcode(status)
