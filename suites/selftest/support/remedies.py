"""Every error that has a remedy, read from the source: `python -m suites.selftest.support.remedies`
writes them into docs/troubleshooting.md, below what is written there by hand.

What is known only when it happens, such as a host's name, is "...".
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.core import errors
from harness.exits import accounting
from harness.hosts import refusal
from harness.paths.parts import REMEDIES
from harness.records.history import db
from harness.runs.suite import ROOT
from suites.selftest.support.words import HOLE, Source, Words, called, different, given, parameters

PAGE = ROOT / "docs/troubleshooting.md"
MARK = "<!-- The rest is made by: python -m suites.selftest.support.remedies -->\n"
WIDTH = 118
"""Columns of a line."""

SECTIONS = {
    "Commands and options": (
        "harness.cli", "harness.runs", "harness.core", "harness.workloads", "harness.paths",
        "harness.labs.shape", "harness.measure", "harness.qualify.options", "harness.comparison",
        "harness.records.series", "harness.records.alike", "harness.net.netdev",
        "fixtures.common",
    ),
    "The inventory, and which host a run takes": (
        "harness.inventory", "harness.labs.choice", "harness.labs.reach", "harness.persist",
    ),
    "Hosts, ssh and sudo": ("harness.hosts",),
    "Real hosts: ports, locks, memory, labgrid": ("harness.labs.real",),
    "What a run left behind": ("harness.journal",),
    "PCI devices and their drivers": ("harness.pci",),
    "The nested lab and its image": ("harness.labs.nested",),
    "Guests": ("harness.guest", "harness.qemu"),
    "Counting exits": ("harness.exits",),
    "Cases of a qualification": ("harness.qualify", "fixtures.qualification"),
    "Records and the history": ("harness.records",),
    "Reports": ("reports",),
}  # fmt: skip
"""Headings, and the rooms whose errors are below."""

TABLED = {each.__name__ for each in (accounting, refusal, db)}
"""Here words are in tables, of which the source of the error shows nothing."""


@dataclass(frozen=True)
class Told:
    """What an error says, and how to mend it."""

    module: str
    message: str
    remedy: str

    def stands_for(self, message: str) -> bool:
        """Is it the more general one?"""
        general = re.escape(self.message).replace(re.escape(HOLE), ".*")
        return bool(re.fullmatch(general, message, re.DOTALL))


class Errors:
    """Those of the source."""

    def __init__(self) -> None:
        self.words = Words()
        self.names = {each.__name__ for each in _subclasses(errors.HarnessError)}
        self.capabilities = {each.__name__ for each in _subclasses(errors.MissingCapability)}

    def all(self) -> list[Told]:
        """Every error with a remedy, in the order of the source; those of tables at the end."""
        found = [told for source in self.words.sources.values() for told in self._of(source)]
        return [*found, *_tables()]

    def _of(self, source: Source) -> Iterator[Told]:
        name = source.module.__name__
        for node in source.nodes:
            for message, remedy in self._made(node, source):
                ways = self._pairs(message, remedy, node, source)
                for said, how in ways:
                    if _says(how) or (how and _says(said) and name not in TABLED):
                        yield Told(name, said, how if _says(how) else "what is told with it")

    def _made(self, node: ast.AST, source: Source) -> Iterator[tuple[ast.expr, ast.expr]]:
        """Message and remedy of the error that is made here, if one is."""
        match node:
            case ast.Call(args=[first, *others], keywords=keywords) if called(node) in self.names:
                message = _with_why(first, others) if called(node) in self.capabilities else first
                yield from ((message, each.value) for each in keywords if each.arg == "remedy")
            case ast.Call(args=[_, what, remedy]) if called(node) == "_wrong":
                yield what, remedy
            case ast.Yield(value=ast.Tuple(elts=[_, what, remedy])):
                function = source.function(node)
                if function and _contradicts(function):
                    yield what, remedy

    def _pairs(
        self, message: ast.expr, remedy: ast.expr, node: ast.AST, source: Source
    ) -> Iterator[tuple[str, str]]:
        """What it may say, each with its remedies. Where both come from one place, a tuple or a
        call, those that belong together."""
        together = [
            {name: self.words.texts(part, there) for name, part in parts.items()}
            for parts, there in (
                *self._unpacked(remedy, node, source),
                *self._arguments(remedy, source),
            )
        ]
        for self.words.bound in together or [{}]:
            yield from self._ways(message, remedy, source)
        self.words.bound = {}

    def _ways(
        self, message: ast.expr, remedy: ast.expr, source: Source
    ) -> Iterator[tuple[str, str]]:
        remedies = [text for text in self.words.texts(remedy, source) if text]
        for text in self.words.texts(message, source):
            yield text, "; or: ".join(remedies)

    def _unpacked(
        self, remedy: ast.expr, node: ast.AST, source: Source
    ) -> Iterator[tuple[dict[str, ast.expr], Source]]:
        """The names of a tuple that has the remedy, for each that there may be."""
        function = source.function(node)
        for each in ast.walk(function) if function and isinstance(remedy, ast.Name) else ():
            match each:
                case (
                    ast.Assign(targets=[ast.Tuple(elts=elts)], value=made)
                    | ast.For(target=ast.Tuple(elts=elts), iter=made)
                ):
                    names = [part.id for part in elts if isinstance(part, ast.Name)]
                    if ast.unparse(remedy) in names:
                        for found, there in self.words.tuples(made, source):
                            if len(found.elts) == len(names):
                                yield dict(zip(names, found.elts, strict=True)), there

    def _arguments(
        self, remedy: ast.expr, source: Source
    ) -> Iterator[tuple[dict[str, ast.expr], Source]]:
        """What each caller gives to a function that is given the remedy."""
        function = source.function(remedy)
        if function and isinstance(remedy, ast.Name) and remedy.id in parameters(function):
            for call, there in self.words.calls[function.name]:
                arguments = given(function, call)
                if remedy.id in arguments:
                    yield arguments, there


def _tables() -> Iterator[Told]:
    """Errors whose words are in tables."""
    holes = re.compile("(...)(...)").match(2 * HOLE)
    assert holes is not None
    for pattern, how_of in refusal.KNOWN:
        for said in _spoken(pattern.pattern):
            told = f"{HOLE}: cannot log in: {said}"
            yield Told("harness.hosts", told, how_of(holes, HOLE))
    for _, what, how in vars(db)["_TOLD"].values():
        yield Told("harness.records", f"{HOLE}: {what}: {HOLE}", how)
    for path, (capability, how) in accounting.NEEDED.items():
        told = f"{capability}: exit accounting needs {path}, which {HOLE} does not have"
        yield Told("harness.exits", told, how)
    for capability, how in REMEDIES.items():
        yield Told("harness.paths", f"missing: {capability}: {HOLE}", how)


def page(found: Iterable[Told]) -> str:
    """The part of the page that is made: a list a section, in the order of the sections."""
    lists: dict[str, list[Told]] = {title: [] for title in SECTIONS}
    for told in found:
        lists[_section(told)].append(told)
    return "\n".join(
        f"\n## {title}\n\n" + "\n".join(map(_item, different(_without_special(told))))
        for title, told in lists.items()
    )


def _section(told: Told) -> str:
    (found, *_) = (
        title
        for title, rooms in SECTIONS.items()
        if any(f"{told.module}.".startswith(f"{room}.") for room in rooms)
    )
    return found


def _without_special(every: Sequence[Told]) -> Iterator[Told]:
    """Without what a more general one of the same remedy says, too."""
    for told in every:
        rest = (
            each for each in every if each.remedy == told.remedy and each.message != told.message
        )
        if not any(each.stands_for(told.message) for each in rest):
            yield replace(told, module="")


def _item(told: Told) -> str:
    message, remedy = map(_plain, (told.message, told.remedy))
    lines = (_wrapped(f"- {message}", "  "), _wrapped(f"*Remedy:* {remedy}", "  ", "  "))
    return "\\\n".join(lines)


def _plain(text: str) -> str:
    """As Markdown that says just that; what is between backticks is so already."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"(\\|\*|<|(?<=\s)>|(?<!\w)_)", r"\\\1", part)
        for part in parts
    )


def _wrapped(text: str, later: str, first: str = "") -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


def main() -> None:
    """Write the page's second part anew."""
    by_hand = PAGE.read_text().partition(MARK)[0]
    PAGE.write_text(f"{by_hand}{MARK}{page(Errors().all())}\n")


def _spoken(pattern: str) -> Iterator[str]:
    """What a pattern finds, in words: a line for each of its branches."""
    before, branches, after = re.fullmatch(r"(.*)\(\?:(.*)\)(.*)|.*", pattern).groups()  # type: ignore[union-attr]
    for branch in (branches or pattern).split("|"):
        whole = f"{before or ''}{branch}{after or ''}"
        whole = re.sub(r"\((?:[^()]*\.\+|\\d\+)\)|\\S\+|\.\*|0\?\\d\+", HOLE, whole)
        yield whole.replace("\\", "")


def _with_why(capability: ast.expr, others: Sequence[ast.expr]) -> ast.expr:
    if not others:
        return capability
    return ast.JoinedStr([capability, ast.Constant(": "), others[0]])


def _subclasses(of: type) -> Iterator[type]:
    yield of
    below: list[type] = of.__subclasses__()
    for each in below:
        yield from _subclasses(each)


def _contradicts(function: ast.FunctionDef) -> bool:
    """Does it yield what contradicts itself in an inventory, with the remedy?"""
    return "Contradiction" in ast.unparse(function.returns or ast.Constant(None))


def _says(text: str) -> bool:
    return any(letter.isalpha() for letter in text)


if __name__ == "__main__":
    main()
