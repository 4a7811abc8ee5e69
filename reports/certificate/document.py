"""The certificate of a qualification: certificate.html in one file, .md and .json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.core.errors import LabError
from harness.records.cases import (
    CERTIFICATE,
    FAMILIES,
    VERDICTS,
    CaseRecord,
    Certificate,
    Subject,
    Verdict,
    load_cases,
    load_subject,
)
from reports.run.cells import Cell, Table
from reports.run.page import templates, write_whole

ALIKE = {"pass": "supported", "fail": "refuted", "error": "refuted"}
"""Verdicts that look as those on claims do in the comparison's report."""


def render(run_dir: Path) -> tuple[Path, str]:
    """Write the certificate of a run into its directory; the page's path and the verdict in words.

    ConfigError if the directory holds no qualification; LabError if nothing can be written there.
    """
    certificate = issue(load_subject(run_dir), load_cases(run_dir))
    try:
        return _write(certificate, run_dir), headline(certificate)
    except OSError as error:
        raise LabError(
            f"{run_dir}: cannot write the certificate: {error}",
            remedy="free space there, or copy the run elsewhere; its records are intact",
        ) from error


def issue(subject: Subject, cases: Sequence[CaseRecord]) -> Certificate:
    """The verdict on the whole. One failure is enough against; for it, every case must have run."""
    counts: dict[Verdict, int] = {
        verdict: sum(case.verdict == verdict for case in cases) for verdict in VERDICTS
    }
    if counts["fail"]:
        verdict = "not fit"
        because = f"{_cases(counts['fail'])} failed"
    elif counts["error"]:
        verdict = "undecided"
        because = f"the rig failed in {_cases(counts['error'])}"
    elif not subject.finished:
        verdict, because = "undecided", "the run ended before its last case"
    elif subject.selection:
        verdict = "undecided"
        because = f"no case failed, but only some were run ({subject.selection})"
    elif not counts["pass"]:
        verdict, because = "undecided", "no case passed, so nothing was shown"
    elif apart := differing(subject):
        verdict = "undecided"
        because = f"no case failed, but the hosts that the run took differ in {', '.join(apart)}"
    else:
        verdict, because = "fit", f"no case failed, {counts['pass']} passed"
    return Certificate(
        verdict=verdict, because=because, subject=subject, counts=counts, cases=tuple(cases)
    )


TOLD_APART = {
    "port under test": ("model", "driver", "version", "firmware-version"),
    "host": ("kernel", "QEMU"),
}
"""Section of a subject to keys that are the same wherever one and the same thing is qualified."""


def differing(subject: Subject) -> tuple[str, ...]:
    """What tells the NICs and hosts apart that cases of one run were made on: then the cases of one
    say nothing of another."""
    each = (subject, *subject.others)
    return tuple(
        f"{key} of the {section}"
        for section, keys in TOLD_APART.items()
        for key in keys
        if len({one.sections.get(section, {}).get(key) for one in each}) > 1
    )


def headline(certificate: Certificate) -> str:
    """The verdict in one line."""
    subject = certificate.subject
    models = " or ".join(dict.fromkeys(each.model for each in (subject, *subject.others)))
    nic = f"the emulated {models}" if subject.emulated else f"this {models}"
    message: dict[str, str] = {
        "fit": f"{nic} is fit to carry VMs",
        "not fit": f"{nic} is not fit to carry VMs",
        "undecided": f"Whether {nic} is fit to carry VMs is undecided",
    }
    line = f"{message[certificate.verdict]}: {certificate.because}"
    return line[0].upper() + line[1:]


def lead(certificate: Certificate) -> list[str]:
    """What a reader must know before relying on the verdict."""
    counts, subject = certificate.counts, certificate.subject
    lines = []
    if subject.others:
        each = (subject, *subject.others)
        lines.append(
            f"The cases were made on {len(each)} hosts: "
            f"{', '.join(f'{one.host} ({one.model} {one.bdf})' for one in each)}."
        )
    if counts["skip"]:
        lines.append(f"{_cases(counts['skip'])} skipped for a capability that is absent here.")
    if subject.emulated:
        passed = [case for case in certificate.cases if case.verdict == "pass"]
        worth = sum(case.silicon.startswith("evidence") for case in passed)
        lines.append(
            f"The NIC is an emulated one: of the {len(passed)} cases that passed, {worth} are "
            "evidence for silicon too, since drivers, kernel and QEMU are the real ones; the "
            "others were decided by QEMU's model of the NIC."
        )
    if counts["deviation"]:
        lines.append(
            f"{_cases(counts['deviation'])} failed as is known of this emulation and its drivers, "
            "each with its cause below."
        )
    if suspect := sum(bool(case.suspect) for case in certificate.cases):
        lines.append(
            f"In {_cases(suspect)} the kernel said of the port under test what may be a fault and "
            "may be none; it stands beside the case and counts for nothing."
        )
    if subject.profile == "generic":
        lines.append("nicproof has no profile of this model: nothing was expected of its figures.")
    return lines


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"


def case_table(family: str, cases: Sequence[CaseRecord], hosts: bool = False) -> Table:
    """The cases of one family; with the host of each, if there are several `hosts`."""
    rows = tuple(
        (
            Cell(case.id.partition(".")[2], case.title),
            Cell(case.verdict, kind=ALIKE.get(case.verdict, "absent")),
            Cell(f"{case.seconds:.1f} s", f"on {case.host}" if hosts and case.host else ""),
            Cell(case.reason or "; ".join(case.evidence), _small(case)),
        )
        for case in cases
    )
    head = (("case",), ("verdict",), ("took",), ("seen, or why not",))
    return Table(head, rows, title=FAMILIES[family], text=True)


def _small(case: CaseRecord) -> str:
    seen = "; ".join(case.evidence) if case.reason else ""
    suspect = case.suspect and f"Suspect, not counted: {'; '.join(case.suspect)}"
    silicon = case.silicon and f"Silicon: {case.silicon}"
    return ". ".join(part for part in (seen, suspect, silicon) if part)


def finding_table(subject: Subject) -> Table:
    """The device beside its model's profile."""
    rows = tuple(
        (
            Cell(each.what),
            Cell(each.found),
            Cell(each.expected, each.source),
            _agreement(each.agrees),
        )
        for each in subject.findings
    )
    return Table((("property",), ("found",), ("profile",), ("agrees",)), rows, text=True)


def _agreement(agrees: bool | None) -> Cell:
    if agrees is None:
        return Cell("unknown", kind="absent")
    return Cell("yes", kind="supported") if agrees else Cell("no", kind="refuted")


def section_table(name: str, section: dict[str, str]) -> Table:
    rows = tuple((Cell(key), Cell(value)) for key, value in section.items())
    return Table((), rows, title=name, text=True)


def _write(certificate: Certificate, run_dir: Path) -> Path:
    subject = certificate.subject
    by_family = {
        family: [case for case in certificate.cases if case.family == family] for family in FAMILIES
    }
    content = {
        "certificate": certificate,
        "headline": headline(certificate),
        "lead": lead(certificate),
        "kinds": ALIKE,
        "strips": {FAMILIES[family]: cases for family, cases in by_family.items() if cases},
        "tables": [
            case_table(family, cases, bool(subject.others))
            for family, cases in by_family.items()
            if cases
        ],
        "findings": finding_table(subject) if subject.findings else None,
        "sections": [
            section_table(f"{name} of {one.host}" if subject.others else name, each)
            for one in (subject, *subject.others)
            for name, each in one.sections.items()
        ],
    }
    texts = {"json": msgspec.json.format(msgspec.json.encode(certificate)).decode()}
    for kind in ("md", "html"):
        template = templates(run_dir).get_template(f"certificate.{kind}.j2")
        texts[kind] = template.render(**content)
    for kind, text in texts.items():
        write_whole(run_dir / f"{CERTIFICATE}.{kind}", text)
    return run_dir / f"{CERTIFICATE}.html"
