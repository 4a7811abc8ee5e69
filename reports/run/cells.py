"""A table as plain data, so that a page and its Markdown twin hold the same cells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """`detail` is set small below `text`; `kind` becomes a CSS class."""

    text: str
    detail: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """The first column names the row. A head may have lines: group, name, unit."""

    head: tuple[tuple[str, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    note: str = ""
    text: bool = False  # True: columns hold words and are set from the left
