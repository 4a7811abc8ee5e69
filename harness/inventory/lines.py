"""Where the keys of a TOML file stand: tomllib tells what they say, but not where."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]
"""From the root of a document to a value: names of keys, indices of arrays."""

_AT = re.compile(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", re.DOTALL)


def syntax_error(error: tomllib.TOMLDecodeError, text: str) -> tuple[int, str]:
    """Line (from 1) and words of a syntax error."""
    found = _AT.match(str(error))
    if found is None:
        return 1, str(error)
    return int(found[2] or text.count("\n") + 1), found[1]


def locate(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of each table and key of a document that tomllib has accepted.

    What an inline value holds stands where the value begins.
    """
    where: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement, content in _statements(text):
        if statement.startswith("["):
            table = _header(content, counts)
            where.setdefault(table, line)
        else:
            for path in _paths(content):
                where.setdefault((*table, *path), line)
    return where


def line_of(where: dict[KeyPath, int], path: KeyPath) -> int:
    """The line of a path, or of the innermost table around it."""
    while path and path not in where:
        path = path[:-1]
    return where.get(path, 1)


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Each header and each assignment: first line, text, and what it says by itself.

    A statement is over where it is a document by itself: no part of one is.
    """
    begun, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        start = start if begun else number
        begun += f"{line}\n"
        try:
            content = tomllib.loads(begun)
        except tomllib.TOMLDecodeError:
            continue
        if content:
            yield start, begun.lstrip(), content
        begun = ""


def _header(content: dict[str, Any], counts: dict[KeyPath, int]) -> KeyPath:
    """The table that a header opens. In an array of tables it is the last element."""
    path: KeyPath = ()
    inner: Any = content
    while inner:
        if isinstance(inner, list):
            counts[path] = counts.get(path, -1) + 1
            return (*path, counts[path])
        ((key, inner),) = inner.items()
        path = (*path, key)
        if isinstance(inner, dict) and path in counts:
            path = (*path, counts[path])
    return path


def _paths(value: object) -> Iterator[KeyPath]:
    """Every path into a value."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(inner))
