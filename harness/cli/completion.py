"""`nicproof completion`: the commands, for the Tab key of a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness import paths, workloads
from harness.cli.parser import Commands, command
from harness.core.flags import options_of
from harness.core.metrics import METRICS
from harness.runs.asked import Asked

SHELLS = ("bash", "zsh")

EXAMPLES = """\
examples:
  source <(nicproof completion bash)          in this shell; in ~/.bashrc: in each one
  nicproof completion bash > ~/.local/share/bash-completion/completions/nicproof
  nicproof completion zsh > ~/.zfunc/_nicproof    a directory of $fpath
"""

FILES, DIRECTORIES = ("FILE", "LAB"), ("DIR", "RUN_DIR", "BASE", "NEW")
"""Metavars of what is completed with names of such."""

LIST = """\
_nicproof_list() {
  local before=""
  case "$2" in *,*) before="${2%,*}," ;; esac
  compgen -P "$before" -W "$1" -- "${2##*,}"
}
"""
"""Completes the last of some words with commas between them: $1 is all that there are."""


@dataclass(frozen=True)
class Words:
    """What an argument can be; of `several` any number, with commas between them."""

    words: tuple[str, ...]
    several: bool = False


BY_METAVAR = {
    "METRIC": Words(tuple(METRICS)),
    "PATH": Words(tuple(path.name for path in paths.ALL)),
    "WORKLOAD": Words(workloads.NAMES),
}
"""Of arguments that are no options of a run."""


def add_parser(commands: Commands) -> None:
    """Register `nicproof completion`."""
    parser = command(
        commands,
        "completion",
        help="the Tab key of bash or zsh completes commands, options, paths and workloads",
        description="Print the script by which a shell completes nicproof's commands, options, "
        "paths, workloads, metrics and files.",
        epilog=EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.set_defaults(handler=_print)


def _print(given: argparse.Namespace) -> int:
    from harness.cli.main import command_line  # late: that module imports this one

    sys.stdout.write(script(command_line(), given.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell, of all commands below a parser."""
    import shtab  # late: no other command needs it

    files: dict[str, Any] = {
        **dict.fromkeys(FILES, shtab.FILE),
        **dict.fromkeys(DIRECTORIES, shtab.DIRECTORY),
    }
    functions: dict[str, str] = {}
    for action in _actions(parser):
        if (known := _words_of(action)) is not None:
            name = f"_nicproof_{action.dest}_{len(known.words)}"  # --path is of several commands
            functions[name] = _function(name, known)
            _complete(action, bash=name, zsh=_zsh(action, known))
        elif not action.choices and action.metavar in files:
            _complete(action, **files[str(action.metavar)])
    preamble = LIST + "".join(functions.values()) if shell == "bash" else ""
    return shtab.complete(parser, shell, preamble=preamble)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
        else:
            yield action


def _words_of(action: argparse.Action) -> Words | None:
    """What is declared of it; None if nothing is."""
    for each in options_of(Asked):
        if each.flag in action.option_strings and each.words:
            return Words(each.words, each.takes_several)
    many = action.nargs in ("+", "*")  # files
    return None if many else BY_METAVAR.get(str(action.metavar))


def _function(name: str, known: Words) -> str:
    every = " ".join(known.words)
    if known.several:
        return f'{name}() {{ _nicproof_list "{every}" "$1"; }}\n'
    return f'{name}() {{ compgen -W "{every}" -- "$1"; }}\n'


def _zsh(action: argparse.Action, known: Words) -> str:
    every = " ".join(known.words)
    return f" _values -s , {action.dest} {every}" if known.several else f"({every})"


def _complete(action: argparse.Action, **by_shell: str) -> None:
    """As shtab is told."""
    action.complete = by_shell  # type: ignore[attr-defined]
