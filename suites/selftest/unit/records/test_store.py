"""The store keeps every trial it acknowledged, and says clearly what it cannot read."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from harness.core.errors import ConfigError, StoreFailed
from harness.records import store
from harness.records.trial import ExitCount, RunInfo, TrialRecord
from suites.selftest.support import writers

INFO = RunInfo(
    run="r",
    version="0",
    created="2026-01-01T00:00:00Z",
    fidelity="nested-tcg",
    host="lab",
    nic="82576 0000:01:00.0",
    seed=1,
    boots=1,
    paths=("sriov",),
    workloads=("tcp-tx",),
)


def trial(index: int) -> TrialRecord:
    return TrialRecord(
        run="r",
        index=index,
        fidelity="nested-tcg",
        host="lab",
        nic="82576 0000:01:00.0",
        path="sriov",
        workload="tcp-tx",
        block=0,
        boot=0,
        trial=index,
        started="2026-01-01T00:00:00Z",
        window_ns=1,
        valid=True,
        exits=(ExitCount(reason="npf", count=3, time_ns=4),),
    )


def test_what_was_stored_is_what_is_read(tmp_path: Path) -> None:
    with store.create(tmp_path / "run") as new:
        new.save_info(INFO)
        new.append(trial(0))
        new.append(trial(1))
    with store.open_run(tmp_path / "run") as again:
        assert again.info() == INFO
        assert again.trials() == (trial(0), trial(1))


def test_a_directory_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    with store.create(tmp_path):
        pass
    with pytest.raises(ConfigError, match="already holds a run"), store.create(tmp_path):
        pass


def test_no_run_corrupt_foreign_and_other_schema_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / store.FILENAME
    with pytest.raises(ConfigError, match="no run here"), store.open_run(tmp_path):
        pass
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(ConfigError, match="not a store"), store.open_run(tmp_path):
        pass
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(ConfigError, match="not one of nicproof's"), store.open_run(tmp_path):
        pass
    path.unlink()
    with store.create(tmp_path):
        pass
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE meta SET value = '999' WHERE key = 'schema'")
    other.close()
    with pytest.raises(ConfigError, match="schema version 999"), store.open_run(tmp_path):
        pass


WRITER = """
import sys
from pathlib import Path
from harness.records import store
from suites.selftest.unit.records.test_store import INFO, trial
with store.create(Path(sys.argv[1])) as new:
    new.save_info(INFO)
    for index in range(100000):
        new.append(trial(index))
        print(index, flush=True)
"""


def test_kill_9_loses_no_acknowledged_trial(tmp_path: Path) -> None:
    draw = random.Random(5)
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        writer = writers.start(WRITER, str(directory))
        acknowledged = set(map(int, writers.acknowledged_before_kill(writer, draw)))
        with store.open_run(directory) as again:
            kept = {record.index for record in again.trials()}
        assert kept.issuperset(acknowledged)


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_there(tmp_path: Path) -> None:
    """SQLite's own page limit gives the very error (SQLITE_FULL) of a full disk."""
    with store.create(tmp_path) as new:
        new.save_info(INFO)
        new.append(trial(0))
        new._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreFailed, match=r"full.*\n  remedy: free space"):
            for index in range(1, 1000):
                new.append(trial(index))
    with store.open_run(tmp_path) as again:
        assert trial(0) in again.trials()


FILLER = """
import sys
from pathlib import Path
from harness.records import store
from harness.core.errors import StoreFailed
from suites.selftest.unit.records.test_store import INFO, trial
disk = Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(100_000))
with store.create(disk / "run") as new:
    new.save_info(INFO)
    try:
        for index in range(10_000):
            new.append(trial(index))
    except StoreFailed as error:
        print(error)
    (disk / "ballast").unlink()
    new.append(trial(index))
with store.open_run(disk / "run") as again:
    assert again.trials() == tuple(map(trial, range(index + 1))), "those acknowledged, and no other"
print(index + 1, "kept")
"""


def test_once_a_full_disk_has_room_again_the_next_write_works(tmp_path: Path) -> None:
    message = writers.on_small_disk(FILLER, tmp_path / "disk", 400)
    assert message.count("database or disk is full") == 1
    assert "remedy: free space on that disk; what was stored before is intact" in message
    assert int(message.split()[-2]) > 10
