"""The history keeps every run it acknowledged, in SQLite and in PostgreSQL alike, and finds it."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import ConfigError
from harness.hosts.local import LocalHost
from harness.records.history.db import VARIABLE, Location
from harness.records.history.runs import digest_of, open_history
from harness.records.trial import RunInfo, TrialRecord
from harness.runs.suite import ROOT
from suites.selftest.support import writers
from suites.selftest.support.synthetic_run import make_run
from suites.selftest.unit.records.test_store import INFO, trial

Content = tuple[RunInfo, tuple[TrialRecord, ...]]


def small_run(number: int, **changes: object) -> Content:
    """A run of two trials, the later the higher its number."""
    created = f"2026-01-01T{number // 60:02}:{number % 60:02}:00+00:00"
    info = msgspec.structs.replace(INFO, run=f"run-{number}", created=created, finished=True)
    return msgspec.structs.replace(info, **changes), (trial(0), trial(1))


def test_what_was_added_is_what_is_loaded(where: str) -> None:
    info, trials = make_run(1, paths=("sriov", "native"), workloads=("tcp-tx", "latency"))
    with_output = tuple(msgspec.structs.replace(each, raw={"iperf3": "{}"}) for each in trials)
    with open_history(where) as history:
        entry = history.add(info, with_output, "main")
        assert entry.trials == entry.valid == len(trials)
        assert history.entries() == (entry,)
    with open_history(where) as again:
        assert again.load(again.find("main")) == (info, trials), "all but the tools' output"


def test_a_run_that_is_added_twice_is_there_once(where: str) -> None:
    with open_history(where) as history:
        first = history.add(*small_run(1), "main")
        assert history.add(*small_run(1), "other") == first
        assert history.entries() == (first,)


def test_runs_are_found_by_name_id_or_digest(where: str) -> None:
    with open_history(where) as history:
        old = history.add(*small_run(1), "main")
        new = history.add(*small_run(2), "main")
        other = history.add(*small_run(3, finished=False), "nightly/x1")
        assert history.entries() == (other, new, old)
        assert history.entries("main") == (new, old)
        assert not other.finished
        assert history.find("main") == new
        assert history.find("run-1") == old
        assert history.find(old.digest[:6]) == old
        for unknown in ("", "run-9", old.digest[:5], "0" * 12):
            with pytest.raises(ConfigError, match="no run of this name, id or digest"):
                history.find(unknown)
        with pytest.raises(ConfigError, match="did you mean nightly/x1"):
            history.find("nightly/x2")


def test_runs_of_two_machines_with_one_id_are_told_apart(where: str) -> None:
    with open_history(where) as history:
        here = history.add(*small_run(1))
        there = history.add(*small_run(1, host="elsewhere"))
        assert here.digest != there.digest
        with pytest.raises(ConfigError, match=rf"2 runs in [^$]*{there.digest[:8]} \(elsewhere"):
            history.find("run-1")
        assert history.find(there.digest[:8]) == there


def test_a_forgotten_run_is_gone_with_its_trials_and_can_come_back(where: str) -> None:
    with open_history(where) as history:
        entry, other = history.add(*small_run(1)), history.add(*small_run(2))
        history.forget(entry.digest)
        assert history.entries() == (other,)
        with pytest.raises(ConfigError, match=r"run-1: not in .* any more"):
            history.load(entry)
        assert history.load(history.add(*small_run(1))) == small_run(1)


def test_nothing_and_nonsense_are_refused(where: str) -> None:
    with open_history(where) as history:
        with pytest.raises(ConfigError, match="no trial was finished"):
            history.add(INFO, ())
        for name in ("-v", "a b", "../up", "x" * 101, "a\n"):
            with pytest.raises(ConfigError, match="cannot be the name of a run"):
                history.add(*small_run(1), name)
        assert history.entries() == ()
        newer = msgspec.structs.replace(small_run(1)[0], schema=999)
        with pytest.raises(ConfigError, match="schema version 999, this nicproof reads 1"):
            history.load(history.add(newer, small_run(1)[1]))


def test_other_schema_is_refused_by_name(where: str) -> None:
    with open_history(where) as history, history._db.begin():
        history._db.exec_driver_sql(
            "UPDATE nicproof_history SET value = '999' WHERE key = 'schema'"
        )
    with pytest.raises(ConfigError, match="schema version 999, this nicproof reads 2"):
        with_nothing(where)


def with_nothing(where: str) -> None:
    with open_history(where):
        pass


WRITER = """
import sys
from harness.records.history.runs import open_history
from suites.selftest.unit.records.test_history import small_run
first, last = map(int, sys.argv[2:])
with open_history(sys.argv[1]) as history:
    for number in range(first, last):
        print(history.add(*small_run(number)).digest, flush=True)
"""


def test_kill_9_loses_no_acknowledged_run(where: str) -> None:
    draw = random.Random(5)
    acknowledged: set[str] = set()
    for attempt in range(4):
        writer = writers.start(WRITER, where, str(1000 * attempt), str(1000 * attempt + 1000))
        acknowledged |= writers.acknowledged_before_kill(writer, draw)
    with open_history(where) as history:
        kept = history.entries()
        assert {entry.digest for entry in kept} >= acknowledged
        assert all(len(history.load(entry)[1]) == 2 for entry in kept), "whole runs only"


def test_two_writers_lose_nothing_from_the_very_first_moment(where: str) -> None:
    """The history is not there when they start: one of them makes it."""
    pair = [writers.start(WRITER, where, str(n), str(n + 100)) for n in (0, 100)]
    messages = [writer.communicate(timeout=60)[0].split() for writer in pair]
    assert [writer.returncode for writer in pair] == [0, 0]
    with open_history(where) as history:
        assert {entry.digest.encode() for entry in history.entries()} == {
            *messages[0],
            *messages[1],
        }
        assert len(history.entries()) == 200


FILLER = """
import sys
from pathlib import Path
from harness.core.errors import StoreFailed
from harness.records.history.runs import open_history
from suites.selftest.unit.records.test_history import small_run
disk = Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(200_000))
kept = []
with open_history(str(disk / "history.db")) as history:
    try:
        for number in range(10_000):
            kept.append(history.add(*small_run(number)))
    except StoreFailed as error:
        print(error)
    (disk / "ballast").unlink()
    kept.append(history.add(*small_run(number)))
with open_history(str(disk / "history.db")) as history:
    assert history.entries() == tuple(reversed(kept)), "those acknowledged, and no other"
    assert all(history.load(entry)[0].run == entry.run for entry in kept)
print(len(kept), "kept")
"""


def test_a_full_disk_is_told_and_once_there_is_room_the_next_write_works(tmp_path: Path) -> None:
    message = writers.on_small_disk(FILLER, tmp_path / "disk", 600)
    assert f"{tmp_path}/disk/history.db: its disk is full" in message
    assert "remedy: free space there; what was stored before is intact" in message
    assert int(message.split()[-2]) > 10


def test_a_disk_too_small_for_a_history_is_told(tmp_path: Path) -> None:
    program = """
import os, sys
from harness.core.errors import StoreFailed
from harness.records.history.runs import open_history
try:
    with open_history(sys.argv[1] + "/history.db"):
        pass
except StoreFailed as error:
    print(error)
print(os.listdir(sys.argv[1]))
"""
    message = writers.on_small_disk(program, tmp_path / "disk", 12)
    assert message.startswith(f"{tmp_path}/disk/history.db: its disk fails, or is full: ")
    assert message.endswith("\n[]\n"), "nothing of it is left"


CHECKER = """
import sys
from harness.core.errors import ConfigError
from harness.records.history.runs import check_usable
try:
    check_usable(sys.argv[1] + "/history.db")
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_disk_is_told(tmp_path: Path, there: bool) -> None:
    if there:
        with open_history(str(tmp_path / "history.db")) as history:
            history.add(*small_run(1))
    message = writers.on_read_only_disk(CHECKER, tmp_path)
    assert message.startswith(f"{tmp_path}/history.db: ")
    assert "by --history" in message
    assert ("cannot be opened" in message or "may not be written" in message) == there


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "some" / "history.db"
    with open_history(f"sqlite:///{file}") as history:
        history.add(*small_run(1))
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert modes.keys() >= {"history.db", "history.db-wal"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_where_it_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Location.of(None).file == tmp_path / "nicproof" / "history.db"
    monkeypatch.setenv("XDG_DATA_HOME", "relative, which the specification says to ignore")
    assert Location.of(None).file == Path.home() / ".local/share/nicproof/history.db"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "team.db"))
    assert Location.of(None).file == tmp_path / "team.db"
    assert Location.of("~/own.db").file == Path.home() / "own.db"


def test_corrupt_and_foreign_files_are_told_apart_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    file.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(ConfigError, match="this is not a history"):
        with_nothing(str(file))
    file.unlink()
    sqlite3.connect(file).execute("CREATE TABLE t (a)").connection.close()
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="not one of nicproof's histories"):
        with_nothing(str(file))
    assert file.read_bytes() == before
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be opened"):
        with_nothing(str(file))


def test_a_damaged_history_is_told(tmp_path: Path) -> None:
    file = tmp_path / "history.db"
    with open_history(str(file)) as history:
        history.add(*small_run(1))
    with file.open("r+b") as raw:
        raw.seek(4096)
        raw.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(ConfigError, match=r"it is damaged[^$]*history import"):
        read_all(str(file))


def read_all(where: str) -> None:
    with open_history(where) as history:
        for entry in history.entries():
            history.load(entry)


def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    """A limit on the size of files makes the kernel refuse the write, for a reason of its own."""
    program = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
{FILLER.replace("bytes(200_000)", "b''")}
"""
    host = LocalHost(env={"PYTHONPATH": str(ROOT)})
    argv = (sys.executable, "-c", program, str(tmp_path))
    result = host.run(argv, timeout=60, check=False)
    assert "history.db: its disk fails, or is full: disk I/O error" in result.text, result.error
    with open_history(str(tmp_path / "history.db")) as history:
        kept = [history.load(entry)[0].run for entry in history.entries()]
    assert kept == [f"run-{number}" for number in reversed(range(len(kept)))] and kept


def test_a_field_that_a_later_version_adds_changes_no_digest() -> None:
    class Later(TrialRecord, frozen=True, kw_only=True):
        added: tuple[int, ...] = ()

    info, trials = small_run(1)
    later = [Later(**{f: getattr(each, f) for f in each.__struct_fields__}) for each in trials]
    assert digest_of(info, later) == digest_of(info, trials)
    later[0] = msgspec.structs.replace(later[0], added=(1,))
    assert digest_of(info, later) != digest_of(info, trials)


def test_a_history_can_be_moved_while_nobody_has_it_open(tmp_path: Path) -> None:
    with open_history(str(tmp_path / "a.db")) as history:
        entry = history.add(*small_run(1))
    shutil.move(tmp_path / "a.db", tmp_path / "b.db")
    assert [path.name for path in tmp_path.iterdir()] == ["b.db"], "it is one file"
    with open_history(str(tmp_path / "b.db")) as history:
        assert history.entries() == (entry,)
