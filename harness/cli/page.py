"""Every command and option as a page of Markdown: `python -m harness.cli.page > docs/commands.md`.

Made of the parsers' parts, not of what `--help` prints, which Python's versions wrap differently.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from harness.cli.main import command_line

WIDTH = 118
"""Columns of a line."""

HEAD = """\
# Commands

Made of the commands' own `--help`, by `python -m harness.cli.page > docs/commands.md`.
`nicproof` is `.venv/bin/nicproof` in a checkout.
"""


def page() -> str:
    """The whole page."""
    return "\n".join((HEAD, *_command(command_line())))


def _command(of: argparse.ArgumentParser) -> Iterator[str]:
    """Lines of a command, and of the commands under it."""
    below = [each for each in of._actions if isinstance(each, argparse._SubParsersAction)]
    yield f"## {of.prog}\n"
    if of.description:
        yield f"{_wrapped(of.description)}\n"
    options = [each for each in of._actions if each not in below]
    for each in options:
        if each.help != argparse.SUPPRESS and each.dest != "help":
            yield _option(each)
    if options[1:]:
        yield ""
    if of.epilog:
        yield f"{textwrap.indent(of.epilog.strip(), '    ')}\n"
    for each in below:
        for command in dict.fromkeys(each.choices.values()):
            yield from _command(command)


def _option(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = "" if action.nargs == 0 else _value(action)
    words = (action.help or "") % {"default": action.default, "prog": "nicproof"}
    return _wrapped(f"- `{f'{names} {value}'.strip()}`: {words.replace('<', '&lt;')}", "  ")


def _value(action: argparse.Action) -> str:
    metavar = action.metavar or action.dest.upper()
    if isinstance(metavar, tuple):
        return " ".join(metavar)
    if action.choices and action.metavar is None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return metavar


def _wrapped(text: str, indent: str = "") -> str:
    paragraphs = text.strip().split("\n\n")
    filled = (
        textwrap.fill(
            " ".join(each.split()),
            WIDTH,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for each in paragraphs
    )
    return "\n\n".join(filled)


if __name__ == "__main__":
    print(page(), end="")
