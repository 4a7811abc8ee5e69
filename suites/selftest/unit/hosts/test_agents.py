"""Programs of ours that run on hosts run on the oldest python3 that a host may have."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.hosts.local import LocalHost
from harness.hosts.program import OLDEST

VERSION = ".".join(map(str, OLDEST))
SAYS = f"python3 >= {VERSION}"
HOME = Path(harness.__file__).parent
AGENTS = sorted(path for path in HOME.rglob("*.py") if "A program of its own" in path.read_text())
LOAD = "import sys; exec(compile(sys.stdin.read(), 'agent', 'exec'), {'__name__': 'agent'})"


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(HOME)) for path in paths]


def test_each_says_what_it_needs() -> None:
    """Those that are told by their names are among them, QEMU's guest agent apart."""
    named = set(HOME.rglob("*_agent.py"))
    assert named <= set(AGENTS)
    assert not [path for path in AGENTS if SAYS not in " ".join(path.read_text().split())]


@pytest.mark.parametrize("agent", AGENTS, ids=names(AGENTS))
def test_its_syntax_is_old_enough(agent: Path) -> None:
    tree = ast.parse(agent.read_text(), feature_version=OLDEST)
    assert not list(unions(tree)), "X | Y is evaluated in an annotation, which 3.10 is the first to"


def unions(tree: ast.Module) -> Iterator[str]:
    """Annotations of the form X | Y that are evaluated when they are met (PEP 604)."""
    late = any(
        isinstance(each, ast.ImportFrom) and each.module == "__future__" for each in tree.body
    )
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            kind = getattr(node, field, None)
            if isinstance(kind, ast.BinOp) and not late:
                yield ast.unparse(kind)


def interpreter() -> str:
    """The oldest python3, or a later one, of this machine: its own, or one of pyenv's."""
    pyenv = Path.home().glob(f".pyenv/versions/{VERSION}.*/bin/python3")
    there = (each for each in (Path(f"/usr/bin/python{VERSION}"), *pyenv) if each.exists())
    return str(next(there, sys.executable))


@pytest.mark.parametrize("agent", AGENTS, ids=names(AGENTS))
def test_python_loads_it(agent: Path) -> None:
    LocalHost().run((interpreter(), "-I", "-S", "-c", LOAD), stdin=agent.read_bytes())
