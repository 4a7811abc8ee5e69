"""Whoever starts and stops the lab that stays up, at once: there is one lab, or none.

What is kept up here is nothing but a process: a lab's own start is what other tests are about.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.runs.suite import ROOT

PROGRAM = """
import os, sys, time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from harness.labs.nested import keeper

@contextmanager
def lab(*_, **__):
    time.sleep(0.3)  # in which the others come
    yield SimpleNamespace(
        qemu_pid=os.getpid(), ssh_port=1, fidelity="nested-tcg", qemu_version="10", snapshot="",
        clock="virtual-smp", lab_cpus=4,
        image=SimpleNamespace(directory=Path("image")), vm=SimpleNamespace(check=lambda: None),
    )

keeper.prepare, keeper.open_nested_lab = lambda *_, **__: None, lab
for line in sys.stdin:
    try:
        print(keeper.start().keeper_pid if line == "up\\n" else keeper.stop(), flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


def test_a_lab_that_is_started_and_stopped_by_several_is_one(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    several = [
        subprocess.Popen(
            (sys.executable, "-c", PROGRAM),
            env={"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )
        for _ in range(3)
    ]  # fmt: skip

    def all_say(word: str) -> list[str]:
        for each in several:
            assert each.stdin is not None
            each.stdin.write(f"{word}\n")
            each.stdin.flush()
        return [each.stdout.readline().strip() for each in several if each.stdout is not None]

    try:
        for _ in range(3):
            messages = all_say("up")
            assert len(set(messages)) == 1 and messages[0].isdecimal(), messages
            assert (Path("/proc") / messages[0]).exists()
            assert sorted(all_say("down")) == ["False", "False", "True"]
        assert not (tmp_path / "nicproof" / "lab" / "state.json").exists()
    finally:
        all_say("down")
        for each in several:
            each.communicate(timeout=60)
