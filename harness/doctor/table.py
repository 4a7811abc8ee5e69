"""The table that `nicproof doctor` prints, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.core.plain import plain
from harness.doctor.findings import Finding, Purpose, lacking

COLOURS = {"yes": "green", "no": "red", "note": "yellow"}

SENTENCES: dict[Purpose, tuple[str, str]] = {
    "nested lab": ("The nested lab can run {}.", "The nested lab cannot run {} yet: {}."),
    "passthrough": ("Passthrough is possible {}.", "Passthrough is not possible {} yet: {}."),
    "SR-IOV": ("SR-IOV is possible {}.", "SR-IOV is not possible {} yet: {}."),
    "exit counts": (
        "Exits can be counted {}.",
        "Exits cannot be counted {}: {}. A bench goes on without them.",
    ),
    "steady figures": ("Figures can be steady {}.", "Figures will not be steady {}: {}."),
}

UNFOLDED = 10_000
"""Columns where there is no terminal: a command that is folded is one no more."""


def print_findings(findings: Sequence[Finding]) -> None:
    """A line a finding, and below it the remedy where there is something to mend."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "needed for"):
        table.add_column(heading, overflow="fold")
    for each in findings:
        found = each.detail
        if each.remedy and each.state != "yes":
            found += f"\n-> {each.remedy}"
        state = Text(each.state, COLOURS[each.state])
        table.add_row(state, each.name, plain(found), ", ".join(each.needed))
    # Without markup: what devices and kernels say may have brackets.
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = UNFOLDED
    console.print(table)


def verdict(findings: Sequence[Finding], purpose: Purpose, where: str) -> str:
    """One sentence on a purpose."""
    wrong = ", ".join(each.name for each in lacking(findings, purpose))
    yes, no = SENTENCES[purpose]
    return no.format(where, wrong) if wrong else yes.format(where)
