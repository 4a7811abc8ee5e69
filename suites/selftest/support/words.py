"""What pieces of the source may say, read from its text: constants, followed through variables,
branches and functions of ours. What is known only when it happens is a hole.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeVar

from harness.runs.suite import ROOT

PACKAGES = ("harness", "fixtures", "reports")
T = TypeVar("T")

HOLE = "..."
MOST = 16
"""Ways to say one thing that are followed."""
DEEPEST = 6
"""Variables and functions that are followed one into another."""


@dataclass(frozen=True)
class Source:
    """A module and its text as a tree."""

    module: ModuleType
    tree: ast.Module

    @classmethod
    def of(cls, path: Path) -> Source:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        return cls(import_module(name), ast.parse(path.read_text()))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def above(self) -> dict[ast.AST, tuple[ast.AST, str]]:
        """Of each node, the one that it is a part of, and as which."""
        return {
            child: (node, name)
            for node in self.nodes
            for name, value in ast.iter_fields(node)
            for child in (value if isinstance(value, list) else [value])
            if isinstance(child, ast.AST)
        }

    def around(self, node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
        """What it is a part of, the nearest first."""
        while node in self.above:
            node, name = self.above[node]
            yield node, name

    def function(self, node: ast.AST) -> ast.FunctionDef | None:
        return next((f for f, _ in self.around(node) if isinstance(f, ast.FunctionDef)), None)


Defined = tuple[ast.FunctionDef, Source]


class Words:
    """Of all sources. `bound` has what variables are known to say."""

    def __init__(self) -> None:
        files = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
        self.bound: dict[str, list[str]] = {}
        self.sources = {
            source.module.__name__: source
            for source in (Source.of(path) for path in files if path.name != "__main__.py")
        }

        self.calls: dict[str, list[tuple[ast.Call, Source]]] = defaultdict(list)
        self.functions: dict[str, list[Defined]] = defaultdict(list)
        for source in self.sources.values():
            for node in source.nodes:
                if isinstance(node, ast.Call):
                    self.calls[called(node)].append((node, source))
                elif isinstance(node, ast.FunctionDef):
                    self.functions[node.name].append((node, source))

    def texts(self, node: ast.AST, source: Source, depth: int = 0) -> list[str]:
        """What a piece of code may say; nothing if it hands on what another error says."""

        def of(part: ast.AST) -> list[str]:
            return self.texts(part, source, depth)

        match node:
            case ast.Constant(value=str() as text):
                return [text]
            case ast.JoinedStr(values=parts):
                return joined([self._hole(part, source, depth) for part in parts])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return joined([of(left), of(right)])
            case ast.IfExp(body=body, orelse=orelse):
                return different([*of(body), *of(orelse)])
            case ast.BoolOp(values=values):
                return different([text for value in values for text in of(value)])
            case ast.Attribute(attr="message" | "remedy" | "args"):
                return []
            case ast.Name(id=name) if depth < DEEPEST:
                return self._named(name, node, source, depth + 1)
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.Tuple(elts=words)]):
                return joined([of(word) for word in words], " ")
            case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(elt=elt)]):
                return of(elt)
            case ast.Call() if depth < DEEPEST:
                return self._returned(node, source, depth + 1)
        return [HOLE]

    def _hole(self, part: ast.AST, source: Source, depth: int) -> list[str]:
        if not isinstance(part, ast.FormattedValue):
            return self.texts(part, source, depth)
        found = self.texts(part.value, source, depth)
        return [text for text in found if text] or [HOLE]

    def _named(self, name: str, node: ast.AST, source: Source, depth: int) -> list[str]:
        """What a variable says: as it was last set before, or a constant's value."""
        if name in self.bound:
            return self.bound[name]
        found: list[str] = []
        blocks = set(source.around(node))
        function = source.function(node)
        assigned = [
            each
            for each in ast.walk(function or ast.Module([], []))
            if isinstance(each, ast.Assign | ast.NamedExpr) and each.lineno < node.lineno  # type: ignore[attr-defined]
        ]
        for each in sorted(assigned, key=lambda each: -each.lineno):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                found += self.texts(each.value, source, depth)
                if source.above[each] in blocks:
                    return different(found)
        if found:
            return different(found)
        value = vars(source.module).get(name)
        if function and name in parameters(function):
            calls = ((given(function, call), there) for call, there in self.calls[function.name])
            return different(
                text
                for given, there in calls
                if name in given
                for text in self.texts(given[name], there, depth)
            ) or [HOLE]
        return [str(value)] if isinstance(value, str | int) else [HOLE]

    def _functions(self, call: ast.Call, source: Source) -> list[Defined]:
        """The functions of ours that may be called: of methods, those of that name."""
        there = self.functions[called(call)]
        if not isinstance(call.func, ast.Name):
            return [each for each in there if parameters(each[0])[:1] == ["self"]]
        value = vars(source.module).get(call.func.id)
        name = value.__module__ if isinstance(value, FunctionType) else ""
        return [each for each in there if each[1].module.__name__ == name]

    def _returned(self, call: ast.Call, source: Source, depth: int) -> list[str]:
        found = different(
            text
            for function, there in self._functions(call, source)
            for each in ast.walk(function)
            if isinstance(each, ast.Return) and each.value
            for text in self.texts(each.value, there, depth)
        )
        return found if 0 < len(found) <= MOST else [HOLE]

    def tuples(self, node: ast.AST, source: Source) -> Iterator[tuple[ast.Tuple, Source]]:
        """The tuples that a call returns or yields."""
        if not isinstance(node, ast.Call) or called(node) == "contradictions":
            return
        for function, there in self._functions(node, source):
            for each in ast.walk(function):
                if isinstance(each, ast.Return | ast.Yield | ast.YieldFrom) and each.value:
                    if isinstance(each.value, ast.Tuple):
                        yield each.value, there
                    else:
                        yield from self.tuples(each.value, there)


def joined(parts: Sequence[list[str]], by: str = "") -> list[str]:
    ways = itertools.islice(itertools.product(*parts), MOST)
    return different(re.sub(r"(\.{3}[ ,/]*)+\.{3}", HOLE, by.join(way)) for way in ways)


def different(every: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(every))


def parameters(function: ast.FunctionDef) -> list[str]:
    return [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]


def given(function: ast.FunctionDef, call: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call by the function's names for them."""
    names = [each.arg for each in function.args.args]
    by_place = zip(names[names[:1] == ["self"] :], call.args, strict=False)
    by_name = ((each.arg, each.value) for each in call.keywords if each.arg)
    return {**dict(by_place), **dict(by_name)}


def called(call: ast.AST) -> str:
    match call:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
    return ""
