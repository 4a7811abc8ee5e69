"""Qualifications for tests: the one of docs/certificate, on other days and with other verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harness.records.cases import CASES_FILE, CaseRecord, Certificate, Subject, Verdict, save
from harness.runs.suite import ROOT

Qualified = tuple[Subject, tuple[CaseRecord, ...]]


@cache
def real() -> Qualified:
    """As it was made in the nested lab."""
    file = ROOT / "docs" / "certificate" / "certificate.json"
    whole = msgspec.json.decode(file.read_bytes(), type=Certificate)
    return whole.subject, whole.cases


def qualified(
    day: int, verdicts: Mapping[str, Verdict] | None = None, **changes: object
) -> Qualified:
    """That of a day of January, with these verdicts of cases, and with changes to its subject."""
    subject, cases = real()
    named = {"run": f"202601{day:02}-q", "created": f"2026-01-{day:02}T09:00:00+00:00"}
    other = verdicts or {}
    return replace(subject, **{**named, **changes}), tuple(
        replace(case, verdict=other[case.id], reason="made up") if case.id in other else case
        for case in cases
    )


def write(run_dir: Path, qualification: Qualified) -> Path:
    """Store it as a run does."""
    subject, cases = qualification
    save(subject, run_dir)
    (run_dir / CASES_FILE).write_bytes(b"".join(msgspec.json.encode(c) + b"\n" for c in cases))
    return run_dir
