"""Programs of nicproof as their user starts them, but for the seconds that loading them takes.

Each is a process of its own, forked from one that has loaded pandas, matplotlib and the reports; it
has its own signals and its own state, and knows nothing of the test that started it. So is each
program of ours that it starts in turn (harness.runs.suite).
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from harness.core.errors import DeadlineExpired
from harness.hosts.base import CommandResult

LIMIT = 120.0
"""Seconds that a program may take."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "harness.cli.main",
        "harness.records.history.runs",
        "reports.run.document",
        "reports.comparison.document",
        "reports.history.main",
        __name__,
    ]
)


def nicproof(*argv: str, **env: str) -> CommandResult:
    """`nicproof ARGV`, with `env` beside what the test has in its environment."""
    return program("harness.cli", *argv, **env)


def session(pytester: pytest.Pytester, *argv: str) -> pytest.RunResult:
    """`pytest ARGV` in the directory of `pytester`."""
    result = _ended("pytest", argv, {}, pytester.path)
    lines = result.text.splitlines(), result.error.splitlines()
    return pytest.RunResult(result.returncode, *lines, duration=0.0)


def program(module: str, *argv: str, **env: str) -> CommandResult:
    """`python -m MODULE ARGV`. DeadlineExpired if it takes longer than LIMIT."""
    return program_in(Path.cwd(), module, *argv, **env)


def program_in(cwd: Path, module: str, *argv: str, **env: str) -> CommandResult:
    """The same in that directory."""
    return _ended(module, argv, env, cwd)


def _ended(module: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> CommandResult:
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory) / "out", Path(directory) / "err"
        process = _CONTEXT.Process(
            target=_run, args=(module, argv, {**os.environ, **env}, cwd, str(out), str(err))
        )
        process.start()
        process.join(LIMIT)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise DeadlineExpired(f"{module} {' '.join(argv)} did not end: {err.read_text()}")
        return CommandResult(
            "this machine", (module, *argv), process.exitcode, out.read_bytes(), err.read_bytes()
        )


def _run(
    module: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, out: str, err: str
) -> NoReturn:
    """What a new interpreter does."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, name in enumerate((os.devnull, out, err)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    os.execv = _replaced  # type: ignore[assignment]
    os.posix_spawn = _spawned  # type: ignore[assignment]
    _main(module, argv)


def _spawned(
    path: str,
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    setsid: bool,
    setsigmask: Iterable[int],
    setsigdef: Iterable[int],
) -> int:
    """For os.posix_spawn of an interpreter that runs a module of ours."""
    pid = os.fork()
    if not pid:
        if setsid:
            os.setsid()
        for number in setsigdef:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, setsigmask)
        os.environ.clear()
        os.environ.update(env)
        _replaced(path, words)
    return pid


def _replaced(_: str, words: Sequence[str]) -> NoReturn:
    """For os.execv of an interpreter that runs a module of ours."""
    sys.stdout.flush()
    after = list(words).index("-m") + 1
    _main(words[after], words[after + 1 :])


def _main(module: str, argv: Sequence[str]) -> NoReturn:
    sys.argv[1:] = argv
    sys.modules.pop(module, None)  # it is run as if it had not been loaded
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)
