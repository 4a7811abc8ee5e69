"""Command-line options as data: the same for argparse and for pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One command-line option; `keywords` as argparse's add_argument takes them."""

    flag: str
    help: str
    keywords: dict[str, Any]

    @property
    def name(self) -> str:
        """The attribute of a parsed namespace that holds it."""
        return self.flag.strip("-").replace("-", "_")


def option(flag: str, help: str, **keywords: Any) -> Option:
    return Option(flag, help, keywords)


def add_to(add: Callable[..., Any], options: Iterable[Option]) -> None:
    """Register options with argparse's or pytest's adding function."""
    for each in options:
        add(each.flag, help=each.help, **each.keywords)


def as_arguments(given: object, options: Iterable[Option]) -> list[str]:
    """Parsed options as pytest takes them: only those that were given a value."""
    arguments = []
    for each in options:
        value = getattr(given, each.name)
        if value is True:
            arguments.append(each.flag)
        elif value not in (None, False, ""):
            arguments.append(f"{each.flag}={value}")
    return arguments


def names(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
