"""What guests, hosts and tools say has no power over a terminal, a report or a job's summary."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.common.progress import Progress
from harness.cli import main as cli
from harness.core.deadline import Deadline
from harness.core.errors import CommandFailed, LabError
from harness.core.plain import plain, plain_record
from harness.hosts.local import LocalHost
from harness.measure.plan import PlannedBoot
from harness.measure.runner import Bench, boot_path
from harness.records import store
from harness.records.cases import CASES_FILE, CaseRecord, Subject, save
from harness.records.history.runs import open_history
from harness.records.trial import Failure, MissingPath, Proof, RunInfo, TrialRecord
from harness.workloads.iperf3 import Iperf3
from reports.certificate import document as certificate
from reports.run import document
from suites.selftest.support.synthetic_run import make_run, write_run

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202eevil\u2066<script>alert(1)</script>\r"
"""Renames a terminal, clears it, colours it; turns text round; runs in a browser."""

LEGAL = "\t\n"


def powerless(text: str) -> None:
    """No character of it is obeyed by a terminal, or puts another one elsewhere."""
    odd = {each for each in text if not each.isprintable() and each not in LEGAL}
    assert not odd - set("\xa0\u202f\u3000"), f"{odd} in {text[:200]!r}"


@given(st.text())
def test_nothing_that_is_obeyed_is_left(text: str) -> None:
    shown = plain(text)
    for each in shown:
        code = ord(each)
        assert each in LEGAL or not (code < 0x20 or 0x7F <= code < 0xA0), repr(each)
        assert not (0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or 0xD800 <= code < 0xE000)
    shown.encode()
    assert plain(shown) == shown


ORDINARY = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))


@given(st.text(ORDINARY | st.sampled_from(LEGAL)))
def test_a_text_without_them_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_it_is_seen_that_something_was_there() -> None:
    assert plain("a\x1b[31mb\r\r\nc\x7f\x9b") == "a\N{SYMBOL FOR ESCAPE}[31mb\nc\u2421\ufffd"


@given(st.dictionaries(st.text(), st.text()) | st.lists(st.text()) | st.text())
@example({"\b": "\f"})  # which have escapes of their own in JSON
@example(["\r"])
def test_of_a_record_every_text_is_plain(value: object) -> None:
    for body in (msgspec.json.encode(value), msgspec.json.encode(value).decode()):
        found = plain_record(body, object)
        texts = [found] if isinstance(found, str) else [*found]  # type: ignore[misc]
        texts += found.values() if isinstance(found, dict) else []
        assert all(plain(each) == each for each in texts)


def test_commands_and_errors_are_plain() -> None:
    say = (sys.executable, "-c", f"import sys; print({HOSTILE!r}); sys.exit({HOSTILE!r})")
    result = LocalHost().run(say, check=False)
    powerless(result.text + result.error)
    assert b"\x1b]0;" in result.stdout, "as bytes it is what was said"
    with pytest.raises(CommandFailed) as failed:
        result.checked()
    powerless(str(failed.value))
    powerless(str(LabError(HOSTILE, remedy=HOSTILE)))


def test_what_is_shown_of_a_run_that_goes_on_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(wanted=True)
    _, (_, trial, *_) = hostile_run()
    shown.trial(msgspec.structs.replace(trial, valid=False))
    shown.line(HOSTILE.replace("[", "\\["))
    shown.case(hostile_case())
    output = capsys.readouterr().out
    powerless(output)
    assert "owned" in output


def hostile_run() -> tuple[RunInfo, tuple[TrialRecord, ...]]:
    """A run in which each word that somebody else chooses is hostile."""
    info, trials = make_run(2, paths=("native", "sriov"), workloads=("tcp-tx",), trials=1)
    info = msgspec.structs.replace(
        info,
        host=HOSTILE,
        nic=f"{HOSTILE} 0000:01:00.0",
        environment={"host": {HOSTILE: HOSTILE}, "guest": {"kernel": HOSTILE}},
        missing=(MissingPath(path="virtio", capability=HOSTILE, why=HOSTILE),),
        failures=(Failure(path="sriov", boot=0, error=f"serial log ends: {HOSTILE}", log=HOSTILE),),
    )
    spoilt = [
        msgspec.structs.replace(
            trial,
            host=info.host,
            nic=info.nic,
            valid=trial.valid and trial.index % 3 > 0,
            reasons=() if trial.valid and trial.index % 3 else (HOSTILE,),
            exits=None
            if trial.exits is None
            else (*trial.exits, msgspec.structs.replace(trial.exits[0], reason=HOSTILE)),
            proofs=(*trial.proofs, Proof(name=HOSTILE, holds=True, detail=HOSTILE)),
            offloads={HOSTILE: True},
        )
        for trial in trials
    ]
    return info, tuple(spoilt)


def written(directory: Path) -> dict[Path, str]:
    """All that a report consists of, but for pictures and what programs read."""
    kinds = (".md", ".html", ".svg", ".txt")
    return {file: file.read_text() for file in directory.rglob("*") if file.suffix in kinds}


def test_a_report_of_hostile_records_is_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = write_run(tmp_path / "run", *hostile_run())
    page, lines = document.render(run_dir)
    powerless("\n".join(lines))
    found = written(run_dir)
    assert page in found and any(file.suffix == ".svg" for file in found)
    for file, text in found.items():
        powerless(text)
        assert "<script>alert" not in text, file
    assert "owned" in found[run_dir / "report.md"]
    with open_history(str(tmp_path / "history.db")) as history, store.open_run(run_dir) as records:
        history.add(records.info(), records.trials(), "main")
        history.add(*hostile_run(), "main")
    assert cli.main(["history", f"--history={tmp_path}/history.db"]) == 0
    powerless(capsys.readouterr().out)


def hostile_case() -> CaseRecord:
    return CaseRecord(
        id="ptp.clock", family="ptp", title=HOSTILE, decided_by="driver", verdict="fail",
        reason=HOSTILE, evidence=(HOSTILE,), silicon=HOSTILE, seconds=1.0, host=HOSTILE,
    )  # fmt: skip


def test_a_certificate_of_a_hostile_product_is_harmless(tmp_path: Path) -> None:
    subject = Subject(
        run="run", version="1", created="2026-01-01", fidelity="hardware", clock="wall",
        model=HOSTILE, host=HOSTILE, bdf="0000:01:00.0", emulated=False, profile="generic",
        sections={"port under test": {HOSTILE: HOSTILE}},
    )  # fmt: skip
    save(subject, tmp_path)
    (tmp_path / CASES_FILE).write_bytes(msgspec.json.encode(hostile_case()) + b"\n")
    _, headline = certificate.render(tmp_path)
    powerless(headline)
    found = written(tmp_path)
    assert {file.suffix for file in found} == {".md", ".html"}
    for file, text in found.items():
        powerless(text)
        assert "<script>alert" not in text, file


@pytest.mark.lab
@pytest.mark.usefixtures("settled")
def test_a_hostile_guest_has_no_power_over_who_reads_of_it(bench: Bench, tmp_path: Path) -> None:
    """It says on its console what it likes, and dies: its last words are in the error, in the
    record and in the report."""
    with boot_path(bench, PlannedBoot(0, "virtio", 0)) as place:
        guest = place.endpoint.guest
        assert guest is not None
        guest.host.run(("dd", "of=/dev/ttyS0"), stdin=f"\n{HOSTILE}\n".encode())
        Deadline(30, "its words").poll(lambda: "owned" in guest.serial_tail())
        bench.host.run(("kill", "-9", str(guest.qemu_pid)))
        with pytest.raises(LabError) as failed:
            place.trial(Iperf3("tcp-tx", seconds=1, omit=0))
    powerless(str(failed.value))
    assert "owned" in str(failed.value)
    run_dir = shutil.copytree(bench.store.directory, tmp_path / "run")
    document.render(run_dir)
    for file, text in written(run_dir).items():
        powerless(text)
        assert "<script>alert" not in text, file
    assert "owned" in (run_dir / "report.md").read_text()
