"""`nicproof history`: list, import, export, forget."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.records import store
from harness.records.cases import CASES_FILE
from harness.records.history.exchange import ExportLine, read
from harness.records.history.runs import History, open_history
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.qualified import qualified, write
from suites.selftest.support.synthetic_run import make_run, write_run
from suites.selftest.unit.records.test_history import small_run

DATA = CAPTURED / "history"


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A history of three runs, which is the default one."""
    where = str(tmp_path / "history.db")
    monkeypatch.setenv("NICPROOF_HISTORY", where)
    with open_history(where) as history:
        history.add(*small_run(1), "main")
        history.add(*small_run(2), "main")
        history.add(*small_run(3, finished=False))
    return where


def digest(where: str, what: str) -> str:
    with open_history(where) as history:
        return history.find(what).digest


def test_runs_are_listed_newest_first(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["-", "run-3"], ["main", "run-2"], ["main", "run-1"],
    ]  # fmt: skip
    assert "unfinished" in lines[1] and "unfinished" not in lines[2]
    assert digest(where, "run-1")[:8] in lines[3]
    assert cli.main(["history", "list", "--name=main", "--json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["run-2", "run-1"]


def test_a_history_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", f"--history={tmp_path}/new.db"]) == 0
    assert f"no run in {tmp_path}/new.db" in capsys.readouterr().out


def test_a_run_is_forgotten(where: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = digest(where, "run-2")[:8]
    assert cli.main(["history", "forget", "main"]) == 0
    assert capsys.readouterr().out == f"forgotten: run-2 as main, {gone}\n"
    assert cli.main(["history", "forget", "run-2"]) == 2
    assert "did you mean run-3 or run-1?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_what_is_exported_can_be_imported(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, other = tmp_path / name, tmp_path / "other.db"
    assert cli.main(["history", "export", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")
    assert capsys.readouterr().out == f"{file}: 3 runs\n"
    command = ["history", f"--history={other}", "import", str(file)]
    assert cli.main(command) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["new", "run-1"], ["new", "run-2"], ["new", "run-3,"],
    ]  # fmt: skip
    assert contents(str(other)) == contents(where)
    assert cli.main(command) == 0
    assert all(line.startswith("there already ") for line in capsys.readouterr().out.splitlines())


def contents(where: str) -> list[object]:
    """All that counts: the moments of import differ."""
    with open_history(where) as history:
        return [(entry.name, entry.digest, history.load(entry)) for entry in history.entries()]


def test_chosen_runs_are_exported(where: str, tmp_path: Path) -> None:
    file = tmp_path / "two.jsonl"
    assert cli.main(["history", "export", str(file), "run-1", digest(where, "run-3")[:6]]) == 0
    runs = [line.info.run for line in read(file) if isinstance(line, ExportLine)]
    assert runs == ["run-1", "run-3"]


@pytest.mark.usefixtures("where")
def test_an_export_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("what was there before")
    load = History.load

    def interrupted(history: History, entry: object) -> object:
        if entry == history.find("run-3"):
            raise KeyboardInterrupt
        return load(history, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(History, "load", interrupted)
    assert cli.main(["history", "export", str(file)]) == 130
    assert file.read_text() == "what was there before"
    assert not list(tmp_path.glob(".all*"))
    assert cli.main(["history", "export", str(tmp_path / "none" / "all.jsonl"), "run-1"]) == 1


def test_a_run_is_imported_from_its_directory(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_run(1, paths=("sriov",), workloads=("tcp-tx",))
    run_dir = write_run(tmp_path / "run", *content)
    assert cli.main(["history", "import", str(run_dir), "--name=imported"]) == 0
    assert capsys.readouterr().out.startswith("new           synthetic-test-data as imported, ")
    with open_history(where) as history:
        assert history.load(history.find("imported")) == content


def test_what_is_no_run_does_not_keep_the_others_out(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with `results/*`."""
    for name in ("a", "b"):
        content = make_run(1, paths=("sriov",), workloads=("tcp-tx",), seed=ord(name))
        write_run(tmp_path / "results" / name, *content)
    (tmp_path / "results" / "a" / store.FILENAME).write_bytes(b"damaged" * 1000)
    write(tmp_path / "results" / "c", qualified(1))
    (tmp_path / "results" / "d").mkdir()
    (tmp_path / "results" / "d" / CASES_FILE).touch()
    paths = map(str, sorted((tmp_path / "results").iterdir()))
    assert cli.main(["history", "import", *paths]) == 2
    output = capsys.readouterr()
    assert f"nicproof: {tmp_path}/results/a/{store.FILENAME}: not a store" in output.err
    assert f"nicproof: {tmp_path}/results/d: no qualification: " in output.err
    assert [line.split()[1] for line in output.out.splitlines()] == [
        "synthetic-test-data,", "20260101-q,",
    ]  # fmt: skip
    with open_history(where) as history:
        assert len(history.entries()) == 4


@pytest.mark.usefixtures("where")
def test_what_cannot_be_imported_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> str:
        assert cli.main(["history", "import", str(path)]) == 2
        return capsys.readouterr().err

    empty = write_run(tmp_path / "empty", small_run(9)[0], ())
    assert f"{empty}: run-9: no trial was finished in this run" in refused(empty)
    assert "no run here" in refused(tmp_path)
    assert "cannot read it: No such file" in refused(tmp_path / "none")
    file = tmp_path / "runs.jsonl"
    file.write_text("{}\n")
    assert f"{file}, line 1: not a run that `nicproof history export` wrote" in refused(file)
    assert cli.main(["history", "export", str(file), "run-1"]) == 0
    text = file.read_text()
    file.write_text(text + text.replace('"rx', '"tx').replace("npf", "nqf"))
    assert "line 2: not a run" in (message := refused(file)) and "its digest is another" in message
    file.write_text(text.replace('"schema":1', '"schema":999', 1))
    assert "schema version 999, this nicproof reads 1" in refused(file)
    file.write_bytes(gzip.compress(text.encode())[:-20])
    assert f"{file}: cannot read it: Compressed file ended" in refused(file)


def test_a_run_and_an_export_of_the_first_schema_are_still_read(tmp_path: Path) -> None:
    """Kept as they were written then: the store of a run, as SQL, and the same run exported."""
    with closing(sqlite3.connect(tmp_path / store.FILENAME)) as database:
        database.executescript((DATA / "run-schema-1.sql").read_text())
    with store.open_run(tmp_path) as old:
        info, trials = old.info(), old.trials()
    assert (info.run, info.paths, len(trials)) == ("20260101-000000", ("native", "sriov"), 8)
    assert trials[0].raw == {"tool": "what it printed"}
    (line,) = read(DATA / "export-schema-1.jsonl")
    assert isinstance(line, ExportLine)
    lean = tuple(msgspec.structs.replace(each, raw={}) for each in trials)
    assert (line.name, line.info, line.trials) == ("main", info, lean)
    with open_history(str(tmp_path / "history.db")) as history:
        assert history.add(info, trials).digest == line.digest, "digests stay what they were"
