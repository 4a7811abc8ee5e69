"""Qualifications in the history, and a history of the first schema, which had none."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.core.errors import ConfigError
from harness.records.history import exchange
from harness.records.history.db import APPLICATION_ID, Location
from harness.records.history.runs import open_history
from harness.records.history.summaries import VERSION, Summary
from harness.records.run import Run
from suites.selftest.support import writers
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.postgres_server import PostgresServer
from suites.selftest.support.qualified import qualified, real, write
from suites.selftest.support.synthetic_run import make_run
from suites.selftest.unit.records.test_history import small_run

DATA = CAPTURED / "history"
FLR = "resets.vf-flr"


def test_what_was_added_is_what_is_loaded(where: str) -> None:
    subject, cases = real()
    with open_history(where) as history:
        entry = history.qualifications.add(subject, cases, Path("/results/qual"))
        assert history.qualifications.add(subject, cases) == entry, "once, whoever adds it twice"
        later = history.qualifications.add(*qualified(2, {cases[0].id: "fail"}))
        run = history.add(*small_run(1))
    with open_history(where) as history:
        assert history.entries() == (run,)
        first, second = history.qualifications.entries()
        assert {first, second} == {entry, later}
        assert history.qualifications.load(entry) == (subject, cases)
        counts = Counter(case.verdict for case in cases)
        assert (entry.passes, entry.deviations) == (counts["pass"], counts["deviation"])
        assert (entry.cases, later.failures) == (len(cases), 1)
        assert entry.nic == "82576 0000:01:00.0"
        found = Counter((each.digest, each.verdict) for each in history.qualifications.verdicts())
        assert found[entry.digest, "pass"] == counts["pass"]
        assert found[later.digest, "fail"] == 1
        (place,) = history.places()[entry.digest]
        assert place.directory == Path("/results/qual")
        history.forget(entry.digest)
        assert history.qualifications.entries() == (later,) and not history.places()
        assert {each.digest for each in history.qualifications.verdicts()} == {later.digest}


def test_what_is_none_is_refused_and_damage_is_told(where: str) -> None:
    subject, cases = real()
    with open_history(where) as history:
        with pytest.raises(ConfigError, match="no case of it ended"):
            history.qualifications.add(subject, ())
        entry = history.qualifications.add(subject, cases)
        with history._db.begin() as _:
            history._db.exec_driver_sql('DELETE FROM verdict WHERE "index" = 3')
        with pytest.raises(ConfigError, match=r"181 of its 182 cases[^$]*history forget"):
            history.qualifications.load(entry)


def old(where: str, request: pytest.FixtureRequest) -> None:
    """Make a history as the first schema had it, of one run; both databases take its statements."""
    script = (DATA / "history-schema-1.sql").read_text()
    if "://" in where:
        server: PostgresServer = request.getfixturevalue("postgres")
        server.execute(script, str(Location.of(where).url.database))
        return
    Path(where).parent.mkdir()
    with closing(sqlite3.connect(where)) as database:
        database.executescript(f"PRAGMA application_id = {APPLICATION_ID}; {script}")


def test_a_history_of_the_first_schema_is_brought_up_and_loses_nothing(
    where: str,
    request: pytest.FixtureRequest,
) -> None:
    old(where, request)
    (line,) = exchange.read(DATA / "export-schema-1.jsonl")
    assert isinstance(line, exchange.ExportLine)
    with open_history(where) as history:
        (entry,) = history.entries()
        assert entry.digest == line.digest and entry.name == "main"
        assert history.load(entry) == (line.info, line.trials)
        (summary,) = history.summaries.load(history, [entry], ["throughput"])
        whole = Summary.of(Run(line.info, line.trials))
        assert summary.figures["throughput"] == whole.figures["throughput"]
        assert history.qualifications.entries() == ()
        history.qualifications.add(*real())
        mark = history.id
    with open_history(where) as history:
        assert history.id == mark, "brought up once"
        assert len(history.qualifications.entries()) == 1


OPENER = """
import sys
from harness.records.history.runs import open_history
with open_history(sys.argv[1]) as history:
    print(history.id, len(history.entries()))
"""


def test_several_that_bring_it_up_at_once_find_one(
    where: str,
    request: pytest.FixtureRequest,
) -> None:
    old(where, request)
    openers = [writers.start(OPENER, where) for _ in range(3)]
    said = {opener.communicate(timeout=60)[0] for opener in openers}
    assert len(said) == 1 and said.pop().split()[1] == b"1"


def test_a_table_of_somebody_elses_is_left_alone(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    database = str(Location.of(url).url.database)
    postgres.execute((DATA / "history-schema-1.sql").read_text(), database)
    postgres.execute("CREATE TABLE place (a int)", database)
    with (
        pytest.raises(ConfigError, match="the name of one of a history's"),
        open_history(url),
    ):
        pass
    postgres.execute("DROP TABLE place", database)
    with open_history(url) as history:
        assert len(history.entries()) == 1


def test_the_summary_of_a_stored_run_is_what_its_version_makes_of_it() -> None:
    """If this fails, what is made of a run has changed: raise VERSION, so that summaries which were
    kept are made anew, and put what is made now into a file of that version."""
    (line,) = exchange.read(DATA / "export-schema-1.jsonl")
    assert isinstance(line, exchange.ExportLine)
    kept = (DATA / f"summary-version-{VERSION}.json").read_bytes()
    assert Summary.of(Run(line.info, line.trials)) == msgspec.json.decode(kept, type=Summary)


def test_summaries_that_are_not_there_or_damaged_are_made_and_kept(where: str) -> None:
    with open_history(where) as history:
        runs = (make_run(1, paths=("sriov",), workloads=("tcp-tx",), seed=n) for n in range(3))
        entries = [history.add(*run) for run in runs]
        first = list(history.summaries.load(history, entries, ["throughput"]))
        with history._db.begin():
            for statement in (
                f"DELETE FROM summary WHERE digest = '{entries[0].digest}'",
                f"UPDATE summary SET version = 0 WHERE digest = '{entries[1].digest}'",
                f"UPDATE figure SET body = '[[' WHERE digest = '{entries[2].digest}'",
            ):
                history._db.exec_driver_sql(statement)
        told: list[tuple[int, int]] = []
        again = history.summaries.load(
            history, entries, ["throughput"], lambda made, of: told.append((made, of))
        )
        assert list(again) == first and first[0].figures["throughput"]
        assert told == [(1, 3), (2, 3), (3, 3)]
        told.clear()
        assert len(list(history.summaries.load(history, entries, ["throughput"]))) == 3
        assert not told, "they were kept"


def test_qualifications_are_imported_listed_exported_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NICPROOF_HISTORY", str(tmp_path / "history.db"))
    run_dir = write(tmp_path / "qual", qualified(3, {FLR: "error"}))
    assert cli.main(["history", "qualifications"]) == 0
    assert "no qualification in" in capsys.readouterr().out
    for state in ("new", "there already"):
        assert cli.main(["history", "import", str(run_dir)]) == 0
        output = capsys.readouterr().out
        assert output.startswith(f"{state:<14}20260103-q, ")
        assert output.endswith(", a qualification\n")
    assert cli.main(["history", "qualifications", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["run"] == "20260103-q" and listed["errors"] == 1
    assert cli.main(["history", "qualifications"]) == 0
    assert "82576 0000:01:00.0" in capsys.readouterr().out.splitlines()[1]
    with open_history() as history:
        history.add(*small_run(1), "main")
        assert history.places()[listed["digest"]][0].directory == run_dir
    file = tmp_path / "all.jsonl.gz"
    assert cli.main(["history", "export", str(file)]) == 0
    other = tmp_path / "other.db"
    assert cli.main(["history", f"--history={other}", "import", str(file)]) == 0
    with open_history(str(other)) as history:
        (entry,) = history.qualifications.entries()
        assert history.qualifications.load(entry) == qualified(3, {FLR: "error"})
        assert len(history.entries()) == 1
    damaged = tmp_path / "damaged.jsonl"
    assert cli.main(["history", "export", str(damaged), "20260103-q"]) == 0
    damaged.write_text(damaged.read_text().replace('"error"', '"pass"', 1))
    assert cli.main(["history", "import", str(damaged)]) == 2
    assert "its digest is another" in capsys.readouterr().err
    assert cli.main(["history", "forget", listed["digest"][:8]]) == 0
    assert "forgotten: 20260103-q" in capsys.readouterr().out
    assert cli.main(["history", "forget", "20260103-q"]) == 2
