"""The pages of docs/contributing, followed to the letter in a copy of the tree, as by one who has
read nothing else."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.runs.suite import ROOT

PAGES = ROOT / "docs" / "contributing"

_WITH = re.compile(r"imports are those of `([^`]+)`, with (.*?)\.\n\n", re.DOTALL)
_NAMED = re.compile(r"`(\w+)` of\s+`([\w.]+)`")


@dataclass(frozen=True)
class Copy:
    """A copy of what nicproof is made of."""

    tree: Path

    @classmethod
    def made(cls, tree: Path) -> Copy:
        for name in ("harness", "fixtures", "reports", "suites"):
            skipped = shutil.ignore_patterns("__pycache__", "data")
            shutil.copytree(ROOT / name, tree / name, ignore=skipped)
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / name, tree / name)
        return cls(tree)

    def nicproof(self, *argv: str, limit: float = 120.0) -> CommandResult:
        """`nicproof ARGV` of the copy."""
        host = LocalHost(env={"PYTHONPATH": str(self.tree)})
        here = ("env", "-C", str(self.tree.parent))
        return host.run(
            (*here, sys.executable, "-m", "harness.cli", *argv), timeout=limit, check=False
        )

    def add(self, file: str, text: str) -> None:
        assert not (self.tree / file).exists()
        (self.tree / file).write_text(text)

    def insert(self, file: str, before: str, text: str) -> None:
        """A line or more, before the only place where `before` stands."""
        whole = (self.tree / file).read_text()
        assert whole.count(before) == 1, (file, before)
        (self.tree / file).write_text(whole.replace(before, text + before))

    def declare(self, room: str, what: str, name: str, entry: str) -> None:
        """Import `name` from `what`, a module of the room, and put it into the room's ALL."""
        file = f"harness/{room}/__init__.py"
        self.insert(file, "\nALL: ", f"from harness.{room}.{what} import {name}\n")
        whole = (self.tree / file).read_text()
        start = whole.index("\nALL: ")
        end = whole.index(")\n", start)
        joint = "" if whole[:end].rstrip().endswith(",") else ", "
        (self.tree / file).write_text(whole[:end] + joint + entry + whole[end:])


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def skeleton(name: str) -> tuple[str, str]:
    """The file that a page says to make, and its text: the page's blocks, one after the other, with
    the imports that it tells of."""
    text = page(name)
    blocks = list(re.finditer(r"```(?:python|toml)\n(.*?)```", text, re.DOTALL))
    (*_, file) = re.findall(r"`([\w/]+\.(?:py|toml))`", text[: blocks[0].start()])
    return file, imports(text) + "\n\n".join(block[1] for block in blocks)


def imports(text: str) -> str:
    """Those that a page describes; "" if its skeleton has them."""
    described = _WITH.search(text)
    if described is None:
        return ""
    model = (ROOT / described[1]).read_text()
    whole = re.findall(r"^(?:from|import) (?:[^\n(]+|[^\n(]+\([^)]*\))\n", model, re.MULTILINE)
    more = [f"from {module} import {name}\n" for name, module in _NAMED.findall(described[2])]
    return "".join((*whole, *more)) + "\n\n"


def indented(name: str, first: str) -> str:
    """The indented block of a page that begins with these words."""
    (found,) = (
        block
        for block in re.findall(r"(?:^    .*\n)+", page(name), re.MULTILINE)
        if block.strip().startswith(first)
    )
    return str(found)


def follow_path(copy: Copy) -> None:
    copy.add(*skeleton("path"))
    copy.declare("paths", "trusted", "TrustedVfPath", "TrustedVfPath(),\n")


def follow_workload_and_metric(copy: Copy) -> None:
    """The metric is one that the workload gives."""
    file, text = skeleton("workload")
    given = '{"loss": loss}'
    assert text.count(given) == 1
    text = text.replace(given, '{"loss": loss, "round_trips": 1.0 * found.received}')
    copy.add(file, text.replace('summary=("loss",)', 'summary=("round_trips",)'))
    copy.declare("workloads", "flood", "FLOOD", "FLOOD")
    copy.insert("harness/core/metrics.py", '    Metric("jitter"', indented("metric", "Metric("))


def follow_case(copy: Copy) -> None:
    copy.add(*skeleton("case"))


def follow_profile(copy: Copy) -> None:
    copy.add(*skeleton("profile"))


def follow_check(copy: Copy) -> None:
    copy.add(*skeleton("check"))
    command = "harness/cli/doctor.py"
    copy.insert(command, "from harness.doctor.virt", "from harness.doctor.swap import swap\n")
    copy.insert(command, "        *qemu(host),\n", "        swap(host),\n")


def follow_ablation(copy: Copy) -> None:
    entry = indented("ablation", "Ablation(")
    copy.insert("harness/records/ablation.py", '    Ablation(\n        "rx-usecs"', entry)
