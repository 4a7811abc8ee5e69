"""Directories of runs as people have them: taken, a file, a link, somebody else's, damaged."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.core.errors import ConfigError, HarnessError
from harness.core.status import Status
from harness.hosts.local import LocalHost
from harness.inventory.reading import read
from harness.records import store
from harness.records.cases import (
    CASES_FILE,
    CLAIM_FILE,
    SUBJECT_FILE,
    CaseRecord,
    load_cases,
    load_claim,
    load_subject,
)
from harness.records.history.runs import open_history
from harness.records.run import load
from harness.runs import claim
from harness.runs.asked import Asked
from harness.runs.suite import ROOT
from suites.selftest.support.command import nicproof
from suites.selftest.support.synthetic_run import make_run, write_run
from suites.selftest.unit.records.test_history_bench import WITHOUT_LAB


def asked(run_dir: object = None) -> Asked:
    where = Asked().where if run_dir is None else msgspec.structs.replace(
        Asked().where, run_dir=str(run_dir)
    )  # fmt: skip
    return Asked(where=where)


def test_runs_of_one_second_have_directories_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where their ids are the same by chance."""
    ids = iter(("a", "a", "a", "b"))
    monkeypatch.setattr(claim, "new_run", lambda: next(ids))
    monkeypatch.chdir(tmp_path)
    first, second = claim.claim(asked()), claim.claim(asked())
    assert [each.run for each, _ in (first, second)] == ["a", "b"]
    assert [directory.name for _, directory in (first, second)] == ["a", "b"]
    for each, directory in (first, second):
        kept, place = claim.load(directory / claim.FILENAME)
        assert (kept.run, place) == (each.run, directory)


def test_of_two_runs_with_one_directory_the_other_touches_nothing(tmp_path: Path) -> None:
    """Started at once: one makes the run, and it alone renders it and adds it to the history."""
    (tmp_path / "without_lab.py").write_text(WITHOUT_LAB)
    argv = ["bench", "--lab=nested", "--name=main", f"--run-dir={tmp_path}/run"]
    argv += [f"--history={tmp_path}/history.db", "--", "-pwithout_lab"]
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "HOME": str(tmp_path)}
    with ThreadPoolExecutor() as threads:
        both = [threads.submit(nicproof, *argv, **env) for _ in "ab"]
    won, lost = sorted((each.result() for each in both), key=lambda end: end.returncode)
    assert (won.returncode, lost.returncode) == (Status.OK, Status.USAGE), (won, lost)
    assert "report: " in won.text and "history: " in won.text
    assert not lost.text and lost.error.startswith(f"nicproof: --run-dir {tmp_path}/run: "), lost
    assert "remedy: choose another" in lost.error and "Traceback" not in lost.error
    with open_history(str(tmp_path / "history.db")) as history:
        assert len(history.entries("main")) == 1


def test_a_directory_that_cannot_be_had_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/below", "loop", "loop/below", "x" * 300):
        assert cli.main(["bench", "--lab=nested", f"--run-dir={tmp_path / name}"]) == Status.USAGE
        output = capsys.readouterr().err
        assert output.startswith(f"nicproof: --run-dir {tmp_path / name}: cannot be made: ")
        assert output.count("\n") == 2 and "remedy: " in output


def test_a_link_leads_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "to-be").symlink_to(tmp_path / "made")
    assert claim.claim(asked(tmp_path / "link"))[1] == tmp_path / "there"
    assert claim.claim(asked(tmp_path / "to-be"))[1] == tmp_path / "made"


def in_a_mount_namespace(script: str) -> str:
    """What a shell says that may mount."""
    argv = ("unshare", "--mount", "--map-root-user", "sh", "-c", f"{script}\n2>&1")
    return LocalHost(env={"PYTHONPATH": str(ROOT)}).run(argv, timeout=300).text


def test_runs_that_are_read_only_can_be_read(tmp_path: Path) -> None:
    """As somebody else's are. A report of a run goes beside it, unless another place is named."""
    runs = tmp_path / "runs"
    for number in (1, 2):
        write_run(
            runs / f"{number}",
            *make_run(6, paths=("sriov",), workloads=("tcp-tx",), seed=number),
        )
    trials = len(load(runs / "1").trials)
    before = sorted(runs.rglob("*"))
    script = f"""
mount --bind {runs} {runs} && mount -o remount,bind,ro {runs} || exit 99
nicproof() {{ {shlex.quote(sys.executable)} -m harness.cli "$@" 2>&1; echo "status $?"; }}
nicproof report --benchstat {runs}/1 | tail -1
nicproof compare {runs}/1 {runs}/2 --out={tmp_path}/out | tail -1
nicproof history --history={tmp_path}/history.db import {runs}/1 --name main | tail -1
nicproof report {runs}/1
nicproof compare {runs}/1 {runs}/2
nicproof bench --lab=nested --run-dir={runs}/3
"""
    lines = in_a_mount_namespace(script).splitlines()
    assert lines[:3] == ["status 0"] * 3, lines
    refused = "\n".join(lines[3:])
    assert "Traceback" not in refused and "nicproof's own" not in refused
    assert refused.count("nicproof: ") == refused.count("remedy: ") == 3, refused
    assert refused.count("Read-only file system") == 3
    assert (tmp_path / "out" / "regression.html").exists()
    assert sorted(runs.rglob("*")) == before
    with open_history(str(tmp_path / "history.db")) as history:
        assert history.find("main").trials == trials


def test_what_was_written_last_is_in_a_read_only_store_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that was killed, or goes on: SQLite has it in a file beside the database."""
    info, trials = make_run(1, paths=("sriov",), workloads=("tcp-tx",))
    with store.create(tmp_path) as records:
        records.save_info(info)
        for each in trials:
            records.append(each)
        assert (tmp_path / f"{store.FILENAME}-wal").stat().st_size > 0
        monkeypatch.setattr("os.access", lambda *_, **__: False)
        with store.open_run(tmp_path) as copy:
            assert copy.trials() == trials and copy.directory == tmp_path


CASE = CaseRecord(id="ptp.clock", family="ptp", title="t", decided_by="driver", verdict="pass")
GOOD = msgspec.json.encode(CASE)
BAD = {
    "deep": b'{"sections":' + b"[" * 100_000,
    "deep in what is not known": b'{"unknown":' + b"[" * 100_000,
    "of no family": GOOD.replace(b'"family":"ptp"', b'"family":"x"'),
    "no UTF-8": b"\xff\xfe",
    "truncated": GOOD[:30],
    "empty": b"",
    "zeroes": bytes(50),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_damaged_records_of_a_qualification_are_one_error(body: bytes, tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        CASES_FILE: load_cases, SUBJECT_FILE: load_subject, CLAIM_FILE: load_claim,
        claim.FILENAME: lambda directory: claim.load(directory / claim.FILENAME),
    }  # fmt: skip
    for name, reader in readers.items():
        (tmp_path / name).write_bytes(body + b"\n")
        if name == CLAIM_FILE and body.startswith(GOOD[:1]) and b'"x"' in body:
            continue  # it says nothing that a claim may not say
        with pytest.raises(ConfigError, match=str(tmp_path)):
            reader(tmp_path)
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=str(tmp_path)):
            reader(tmp_path)


INVENTORIES = {
    "lists": "a = " + "[" * 100_000,
    "lists that end": "a = " + "[" * 400 + "]" * 400,
    "tables": f"[a{'.a' * 20_000}]",
    "inline tables": "a = " + "{a=" * 50_000,
    "a long number": f"a = {'9' * 10_000}",
}


@pytest.mark.parametrize("text", INVENTORIES.values(), ids=INVENTORIES.keys())
def test_an_odd_inventory_is_one_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(text)
    with pytest.raises(HarnessError, match=rf"{file}: (it is nested too deeply|no TOML)") as failed:
        read(file)
    assert len(str(failed.value)) < 400
