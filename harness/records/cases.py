"""What a qualification leaves behind, as plain data: what was tested, what came of each case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import msgspec

from harness.core.errors import ConfigError
from harness.core.plain import plain_record
from harness.core.units import Clock, Fidelity

Verdict = Literal["pass", "fail", "skip", "error", "deviation"]
"""fail: the product, in what the case is about; error: the rig, or what the case needs around that;
skip: a capability is absent; deviation: a failure that is known of emulated hardware and listed
with its cause."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

SUBJECT_FILE, CASES_FILE, CERTIFICATE = "subject.json", "cases.jsonl", "certificate"
"""In a run's directory: what is qualified; a case a line, as they end; the outcome (.json, ...)."""

CLAIM_FILE = "claim.json"
"""In a worker's directory, which also has a subject of its own, while it holds its host."""

Decider = Literal["device", "driver", "kernel", "qemu"]
"""Whose doing decides a case: the NIC and its firmware; its PF or VF driver; the rest of the
host's kernel (PCI core, vfio, IOMMU, network stack); the host's QEMU."""

FAMILIES = {
    "discovery": "Discovery",
    "lifecycle": "SR-IOV lifecycle",
    "datapath": "Datapath",
    "isolation": "Isolation",
    "offloads": "Offloads and queues",
    "interrupts": "Interrupts",
    "resets": "Resets and link",
    "ptp": "PTP",
    "virtualisation": "Virtualisation",
    "stress": "Stress",
}
"""Family, as in a case's id and its module's name, to its title; in the order of certificates."""


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One case of one qualification."""

    id: str  # family.name, e.g. "lifecycle.most-vfs"
    family: str
    title: str
    decided_by: Decider
    verdict: Verdict
    reason: str = ""  # of every verdict but pass
    evidence: tuple[str, ...] = ()  # what was seen, in the order in which it was
    suspect: tuple[str, ...] = ()  # what the kernel said that may be a fault, and may be none
    silicon: str = ""  # on emulated hardware: what the verdict says about real hardware
    seconds: float = 0.0  # of the world's time, set-up and clean-up of the case included
    host: str = ""  # where it was run; "" if it did not get that far


class ListedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case as the suite declares it."""

    id: str
    family: str
    title: str
    decided_by: str  # in words
    needs: tuple[str, ...]  # capabilities without which it is skipped


class DeviceFact(msgspec.Struct, frozen=True, kw_only=True):
    """One property of the device beside what its model's profile expects of it."""

    what: str
    expected: str
    found: str
    agrees: bool | None  # None: one of the two is not known
    source: str = ""  # of the expectation


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was qualified, and on what: name -> text, in sections as they are printed."""

    run: str
    version: str  # of nicproof
    created: str  # UTC, ISO 8601
    fidelity: Fidelity
    clock: Clock
    model: str  # e.g. "82576"
    host: str = ""
    bdf: str
    emulated: bool
    profile: str  # the profile's name; "generic" for a model that nicproof does not know
    sections: dict[str, dict[str, str]]
    findings: tuple[DeviceFact, ...] = ()
    selection: str = ""  # how cases were chosen, as options; "" for the whole suite
    finished: bool = False  # did every chosen case come to its end?
    others: tuple[Subject, ...] = ()  # of other hosts, where cases of the same run were made


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The host that one of several workers has, for as long as it has it: so it tells whoever
    hands out the cases."""

    host: str = ""  # "": none
    why: str = ""  # it has none
    lacks: frozenset[str] = frozenset()  # the cases that the host cannot do, by pytest's ids
    pid: int = 0  # of the worker


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it: certificate.json."""

    verdict: str  # "fit", "not fit", "undecided"; emulated hardware: "fit as emulated", ...
    because: str
    subject: Subject
    counts: dict[Verdict, int]
    cases: tuple[CaseRecord, ...]


def family_of(case: str) -> str:
    """The family in a case's id."""
    return case.partition(".")[0]


def save(subject: Subject, run_dir: Path) -> None:
    """Write subject.json, whole or not at all."""
    _write(run_dir / SUBJECT_FILE, subject)


def save_claim(claim: Claim, worker_dir: Path) -> None:
    """Write claim.json, whole or not at all."""
    _write(worker_dir / CLAIM_FILE, claim)


def _write(path: Path, record: Subject | Claim) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(msgspec.json.encode(record))
    unfinished.replace(path)


def load_subject(run_dir: Path) -> Subject:
    """What a run qualified. ConfigError if the directory does not say, or not readably."""
    with _reading(run_dir):
        return plain_record((run_dir / SUBJECT_FILE).read_bytes(), Subject)


def load_claim(worker_dir: Path) -> Claim | None:
    """What a worker has; None if it has no need of a host. ConfigError as above."""
    path = worker_dir / CLAIM_FILE
    with _reading(worker_dir):
        return msgspec.json.decode(path.read_bytes(), type=Claim) if path.exists() else None


def load_subjects(run_dir: Path) -> tuple[Subject, ...]:
    """What the workers of a run found on their hosts, each host once; without workers, what the run
    itself did. ConfigError as above."""
    directories = sorted(path.parent for path in run_dir.glob(f"*/{SUBJECT_FILE}")) or [run_dir]
    by_host = {found.host: found for found in map(load_subject, directories)}
    return tuple(by_host.values())


def load_cases(run_dir: Path) -> tuple[CaseRecord, ...]:
    """The cases of a run that ended, in the order of their families. ConfigError as above."""
    with _reading(run_dir):
        lines = (run_dir / CASES_FILE).read_bytes().splitlines()
        cases = [plain_record(line, CaseRecord) for line in lines]
    order = list(FAMILIES)
    for case in cases:
        if case.family not in order:
            raise ConfigError(f"{run_dir}: {case.id} is of no family of cases: {case.family!r}")
    return tuple(sorted(cases, key=lambda case: order.index(case.family)))


@contextmanager
def _reading(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(f"{run_dir}: no qualification: {error.filename} is not there") from error
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{run_dir}: its records cannot be read: {error}") from error
