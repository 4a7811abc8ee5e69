"""Programs that write to a store and say so, for tests that kill them or take their disk away."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.hosts.local import LocalHost
from harness.runs.suite import ROOT


def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python program that prints a line for each write that was acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, cwd=ROOT
    )


def acknowledged_before_kill(writer: subprocess.Popen[bytes], draw: random.Random) -> set[str]:
    """What a writer acknowledged before it was killed, at some moment after its first line."""
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(draw.uniform(0.0, 0.2))
    os.kill(writer.pid, signal.SIGKILL)
    lines = (first + writer.stdout.read()).decode().split("\n")[:-1]
    assert writer.wait() == -signal.SIGKILL, "it had ended before"
    return set(lines)


def on_small_disk(program: str, disk: Path, kib: int) -> str:
    """What a Python program says that has `disk`, its argument, to itself: a file system of so many
    KiB, mounted where nobody else sees it."""
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size={kib}k small {shlex.quote(str(disk))} || exit 99; "
        f"exec {shlex.join((sys.executable, '-c', program, str(disk)))}"
    )
    return _unshared(script)


def on_read_only_disk(program: str, disk: Path) -> str:
    """What a Python program says that finds `disk`, its argument, read-only."""
    where = shlex.quote(str(disk))
    script = (
        f"mount --bind {where} {where} && mount -o remount,bind,ro {where} || exit 99; "
        f"exec {shlex.join((sys.executable, '-c', program, str(disk)))}"
    )
    return _unshared(script)


def _unshared(script: str) -> str:
    argv = ("unshare", "--mount", "--map-root-user", "sh", "-c", script)
    result = LocalHost(env={"PYTHONPATH": str(ROOT)}).run(argv, timeout=60, check=False)
    if result.returncode == 99 or "unshare failed" in result.error:
        pytest.skip(f"a mount namespace: {result.error.strip()}")
    assert result.returncode == 0, result.text + result.error
    return result.text
