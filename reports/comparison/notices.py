"""What a comparison tells those who do not read its report: GitLab's code quality, GitHub's
annotations, and a mail.

All of them name what was lost and what is undecided beside what is worse: a notice that is silent
of them reads as if all were well. They are texts; none of them is sent anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten, wrap
from typing import Literal

from harness.comparison.outcome import Comparison
from harness.comparison.verdict import LOST, RANK, Change, Verdict
from reports.comparison.words import headline, others, sentence, trials

COLUMNS = 72
"""Of a mail's lines: what a reader can quote a few times in 80 (RFC 1855, 2.1.1 says 65)."""

Severity = Literal["info", "minor", "major", "critical", "blocker"]
"""GitLab's, of which a merge request shows each."""


def every(outcome: Comparison, directory: Path) -> dict[str, str]:
    """File name -> content, of files that will lie in that directory."""
    return {
        "gl-code-quality.json": as_code_quality(outcome, directory),
        "mail.txt": as_mail(outcome),
    }


def as_code_quality(outcome: Comparison, directory: Path) -> str:
    """GitLab's code quality report (https://docs.gitlab.com/ci/testing/code_quality/): an entry for
    each figure that is lost, worse or undecided, or that base lacks, and for each warning.

    A figure has no line in a source file, so the place is the report, below the directory in which
    the job works. A fingerprint is of what was found and where, and of the kind of lab, but of no
    run and no number: what was there before this merge request is not new in it.
    """
    where = os.path.relpath(directory / "regression.md")
    if where.startswith(os.pardir):
        where = "regression.md"
    found: list[tuple[str, str, str, Severity]] = [
        (each.verdict, each.name, _description(each), _severity(each))
        for each in outcome.changes
        if each.verdict in _TOLD and (each.primary or each.verdict == "regression")
    ]
    found += [("warning", text, text, "info") for text in outcome.warnings]
    info = outcome.new.info
    lab = (info.fidelity, info.clock, info.nic.split()[0])
    entries = [
        {
            "description": description,
            "check_name": f"nicproof: {check}",
            "fingerprint": hashlib.sha256("\n".join((*lab, check, name)).encode()).hexdigest(),
            "severity": severity,
            "location": {"path": where, "lines": {"begin": 1}},
        }
        for check, name, description, severity in found
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


_TOLD = (*LOST, "regression", "undecided", "only in new")


def _severity(change: Change) -> Severity:
    if change.verdict in LOST:
        return "critical"
    if change.verdict == "regression":
        return "major" if change.primary else "minor"
    return "minor" if change.verdict == "undecided" and change.beyond else "info"


def _description(change: Change) -> str:
    """ "regression: sriov, tcp-tx: Throughput -12.0 %: npf exits ..."."""
    why = f" ({change.why})" if change.why else ""
    return f"{change.verdict}: {sentence(change)}{why}"


def in_job(outcome: Comparison, page: Path, env: Mapping[str, str]) -> list[str]:
    """In a GitHub job, by its environment: fill in the step's summary, and what to print for its
    annotations; nothing elsewhere."""
    if summary := env.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(page.with_suffix(".md").read_text(encoding="utf-8"))
    return list(as_annotations(outcome)) if env.get("GITHUB_ACTIONS") == "true" else []


def as_annotations(outcome: Comparison) -> Iterator[str]:
    """Lines for a GitHub job's log, which shows them at the pull request: one a verdict, since it
    shows no more than ten of a kind a step."""
    for verdict, level in _LEVELS.items():
        if found := [each for each in outcome.primary if each.verdict == verdict]:
            title = f"nicproof: {len(found)} of {len(outcome.primary)} figures: {verdict}"
            text = "\n".join(_description(each).partition(": ")[2] for each in found)
            yield f"::{level} title={_escaped(title, ':,')}::{_escaped(text)}"


_LEVELS = {
    "not measured": "error",
    "not asked for": "error",
    "regression": "error",
    "undecided": "notice",
    "only in new": "notice",
}
"""Undecided fails no job, and is no warning either: most figures of a short run are."""


def _escaped(text: str, more: str = "") -> str:
    """As workflow commands want it; a property's value also without its separators."""
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def as_mail(outcome: Comparison) -> str:
    """The subject as a header, an empty line, the text: ASCII, which needs no other header."""
    info = outcome.new.info
    lines = [
        *_filled(headline(outcome)),
        "",
        *_sections(outcome),
        *(line for each in trials(outcome) for line in _filled(each, "    ")),
        "",
        *_filled(f"new:  {outcome.new_name}", "      "),
        *_filled(f"base: {outcome.base_name}", "      "),
        *_filled(f"NIC {info.nic}, fidelity {info.fidelity}, clock {info.clock}"),
        "The whole report is regression.html.",
    ]
    return "\n".join((f"Subject: {subject(outcome)}", "", *lines, ""))


def subject(outcome: Comparison) -> str:
    """ "nicproof FAILED: 1 not measured, 2 worse, 3 undecided of 16: pr-7"; without the name of the
    run if there is no room."""
    names: dict[Verdict, str] = {"regression": "worse", "improvement": "better"}
    counts = {names.get(each, each): outcome.count(each) for each in RANK if each != "no change"}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    state = "FAILED" if outcome.failed else "passed"
    text = f"nicproof {state}: {told or 'no change in any'} of {len(outcome.primary)}"
    room = COLUMNS - len("Subject: ")
    named = _ascii(f"{text}: {outcome.new_name}")
    return named if len(named) <= room else shorten(text, room, placeholder=" ...")


def _sections(outcome: Comparison) -> Iterator[str]:
    """The figures of each verdict but no change, and what else is to be known."""
    seen: set[str] = set()
    for verdict in RANK:
        found = [each for each in outcome.primary if each.verdict == verdict]
        told = [each for each in found if verdict != "undecided" or each.beyond or not each.both]
        if not found or verdict == "no change":
            continue
        yield f"{verdict} ({len(found)})"
        for each in told:
            # Why many of them are lost, or undecided, is told in full once.
            why = "" if each.why in seen else each.why
            seen.add(each.why)
            yield from _filled(f"- {sentence(each)}{f' ({why})' if why else ''}", "  ")
        if rest := len(found) - len(told):
            yield f"- {rest}{' more' if told else ''} that may be no change"
        yield ""
    if worse := others(outcome, "regression"):
        yield f"worse, but not deciding ({len(worse)})"
        yield from (line for each in worse for line in _filled(f"- {sentence(each)}", "  "))
        yield ""
    for warning in outcome.warnings:
        yield from _filled(f"warning: {warning}", "    ")
        yield ""


def _filled(text: str, indent: str = "") -> list[str]:
    """Lines of COLUMNS at most, the second and later ones set in; a number keeps its per cent."""
    kept = _ascii(text).replace(" %", "\0%")
    lines = wrap(kept, COLUMNS, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _ascii(text: str) -> str:
    """Plain letters for those that our units and numbers have; an escape for any other."""
    for special, plain in {"\N{MICRO SIGN}": "u", "\N{INFINITY}": "inf"}.items():
        text = text.replace(special, plain)
    return text.encode("ascii", "backslashreplace").decode()
