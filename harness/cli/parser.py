"""What the parsers of commands have in common."""

from __future__ import annotations

import argparse
from typing import Any, TypeAlias

import msgspec

from harness.core.flags import nonempty

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where a command is registered: what `add_subparsers` returns."""


def command(
    commands: Commands, name: str, *, help: str, description: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    """A command's parser, whose examples are printed as they are written."""
    return commands.add_parser(
        name,
        help=help,
        description=description or None,
        epilog=epilog or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json(
    parser: argparse.ArgumentParser, help: str = "print it as JSON", *, default: Any = False
) -> None:
    """Of every command that prints a table; what its keys are is in docs/json.md."""
    parser.add_argument("--json", action="store_true", default=default, help=help)


def print_json(value: object) -> None:
    """What a command prints with --json: one document, indented. A path is a text there, and what
    has no order is sorted."""
    document = msgspec.json.encode(value, enc_hook=str, order="deterministic")
    print(msgspec.json.format(document, indent=2).decode())


def add_pytest(parser: argparse.ArgumentParser) -> None:
    """Whatever follows --, for commands that start a suite."""
    parser.add_argument("pytest", nargs="*", metavar="-- PYTEST_ARGS", help="for pytest itself")


def add_across(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="KEY",
        type=nonempty,
        help="a key in which the runs may differ, since that is the point of the comparison; paths "
        "or workloads: the new run may be asked for fewer of them, which else counts as lost",
    )
