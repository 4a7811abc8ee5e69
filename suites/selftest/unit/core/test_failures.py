"""What is damaged or goes wrong ends with a status that is no verdict, and says what and where.

Stores and histories are really damaged, and the commands really run.
"""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import ConfigError
from harness.core.status import Status
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.records import store
from harness.records.history.runs import History, open_history
from harness.records.run import load
from harness.records.trial import ExitCount, TrialRecord
from harness.runs.suite import ROOT
from suites.selftest.support import command
from suites.selftest.support.postgres_server import PostgresServer
from suites.selftest.support.synthetic_run import make_run, write_run
from suites.selftest.unit.records.test_history_bench import WITHOUT_LAB, bench, without_lab

PATHS, WORKLOADS = ("sriov", "virtio"), ("tcp-tx",)
VICTIM = 12
"""The trial that is damaged: of a path's second boot, so no warm-up."""


def run(directory: Path, seed: int = 1, **info: object) -> Path:
    made, records = make_run(paths=PATHS, workloads=WORKLOADS, seed=seed)
    return write_run(directory, msgspec.structs.replace(made, **info), records)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing is wrong with."""
    return run(tmp_path_factory.mktemp("whole") / "run", run="whole")


@pytest.fixture
def other(tmp_path: Path, whole: Path) -> Path:
    """A run to damage."""
    return Path(shutil.copytree(whole, tmp_path / "damaged"))


def nicproof(*argv: str, **env: str) -> CommandResult:
    """A command; its caches and its history are this test's own."""
    return command.nicproof(*argv, **{"CI": "", **env})


def assert_message(result: CommandResult, *message: str) -> None:
    """One clear error, of the user's to mend."""
    assert result.returncode == Status.USAGE, result.text + result.error
    assert "Traceback" not in result.error and "remedy: " in result.error
    for each in message:
        assert each in result.error, result.error


Damage = Callable[[bytes], object]


def rewritten(database: Path, table: str, key: str, damage: Damage) -> None:
    """Change the body of a stored trial, behind the back of everybody."""
    with sqlite3.connect(database) as connection:
        found = f"SELECT CAST(body AS BLOB) FROM {table} WHERE {key} = {VICTIM}"
        (body,) = connection.execute(found).fetchone()
        change = f"UPDATE {table} SET body = ? WHERE {key} = {VICTIM}"
        connection.execute(change, (damage(body),))
    connection.close()


def metric(text: bytes) -> Callable[[bytes], bytes]:
    """Write something else where the throughput stands."""
    return lambda body: re.sub(rb'("throughput":)[^,}]+', rb"\g<1>" + text, body)


DAMAGES: dict[str, Damage] = {
    "nan": metric(b"NaN"),
    "null, as which JSON encoders write NaN": metric(b"null"),
    "inf": metric(b"1e999"),
    "negative": metric(b"-3.5"),
    "negative counter": lambda body: body.replace(
        b'"partner.rx_packets":', b'"partner.rx_packets":-'
    ),
    "truncated": lambda body: body[: len(body) // 2],
    "empty": lambda _: b"",
    "of another type": lambda body: body.replace(b'"boot":', b'"boot":"a",":":'),
    "a number": lambda _: 7,
    "no UTF-8": lambda body: body[:40] + b"\xff\xfe" + body[42:],
    "nested": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_trial_is_told_with_its_file_and_number(damage: Damage, other: Path) -> None:
    rewritten(other / store.FILENAME, "trial", "id", damage)
    with pytest.raises(ConfigError, match=rf"{other}/trials.db: trial {VICTIM}\b") as caught:
        load(other)
    _, _, command = caught.value.remedy.partition(": ")
    assert f"WHERE id={VICTIM}" in command
    with sqlite3.connect(other / store.FILENAME) as connection:
        connection.execute(command.split('"')[1])
    connection.close()
    assert len(load(other).trials) == 35, "the remedy helps"


@pytest.mark.parametrize("words", ["compare", "report", "report --benchstat"])
@pytest.mark.parametrize("damage", ["null, as which JSON encoders write NaN", "negative"])
def test_no_command_takes_damage_for_a_verdict(
    words: str, damage: str, other: Path, whole: Path
) -> None:
    rewritten(other / store.FILENAME, "trial", "id", DAMAGES[damage])
    name, *options = words.split()
    runs = (str(whole), str(other)) if name == "compare" else (str(other),)
    assert_message(nicproof(name, *runs, *options), f"{other}/trials.db: trial {VICTIM}")


def overwrite_page(database: Path, table: str) -> None:
    """Zeroes over a page of a table's rows, as a disk may leave them."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        pages = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno"
        try:
            page = connection.execute(pages, (table,)).fetchall()[1][0]
        except sqlite3.OperationalError:  # built without dbstat
            page = connection.execute("PRAGMA page_count").fetchone()[0] // 2
    connection.close()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x00" * size)


def cut(database: Path) -> None:
    """The second half is gone."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)


def test_a_damaged_store_is_told(other: Path, whole: Path) -> None:
    overwrite_page(other / store.FILENAME, "trial")
    assert_message(nicproof("compare", str(whole), str(other)), f"{other}/trials.db", "malformed")
    shutil.copy(whole / store.FILENAME, other / store.FILENAME)
    cut(other / store.FILENAME)
    assert_message(nicproof("report", str(other)), f"{other}/trials.db", "malformed")


def filled(where: str, count: int = 2) -> None:
    with open_history(where) as history:
        for seed in range(1, count + 1):
            info, records = make_run(paths=PATHS, workloads=WORKLOADS, seed=seed)
            info = msgspec.structs.replace(info, run=f"r{seed}", created=f"2026-01-0{seed}")
            history.add(info, records, "main")


def test_a_damaged_trial_of_a_history_is_told(tmp_path: Path, whole: Path) -> None:
    where = tmp_path / "history.db"
    filled(str(where))
    rewritten(where, "trial", '"index"', DAMAGES["negative"])
    history = f"--history={where}"
    message = (f"{where}: r", f", trial {VICTIM}", "nicproof history forget ")
    assert_message(nicproof("compare", "main", str(whole), history), *message)
    assert_message(nicproof("history", history, "export", str(tmp_path / "out.jsonl")), *message)
    assert_message(
        command.program("reports.comparison", str(whole), "--against=main", history), *message
    )


@pytest.mark.parametrize("damage", [lambda file: overwrite_page(file, "trial"), cut])
def test_a_damaged_history_is_told(damage: Callable[[Path], None], tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    filled(str(where))
    damage(where)
    out = f"{tmp_path}/out.jsonl"
    result = nicproof("history", "export", out, f"--history={where}")
    assert_message(result, f"{where}: it is damaged", "history import")


BAD_COLUMNS = {"boots": "'many'", "valid": "x'00'", "created": "x'ff'", "trials": "2.5"}


@pytest.mark.parametrize(("column", "value"), BAD_COLUMNS.items())
def test_a_damaged_list_of_runs_is_told(column: str, value: str, tmp_path: Path) -> None:
    where = tmp_path / "history.db"
    filled(str(where))
    with sqlite3.connect(where) as connection:
        connection.execute(f"UPDATE run SET {column} = {value} WHERE run = 'r1'")
    connection.close()
    assert_message(nicproof("history", f"--history={where}"), str(where), "damaged")


def spoiled(history: History, digest: str, execute: Callable[[str], object]) -> None:
    execute(f"""UPDATE trial SET body = '{{"boot":' WHERE digest = '{digest}' AND index = 3""")
    with pytest.raises(ConfigError, match=r"postgresql://.*: r1, trial 3 cannot be read"):
        history.load(history.find("r1"))
    execute(f"DELETE FROM trial WHERE digest = '{digest}' AND index > 3")
    with pytest.raises(ConfigError, match="4 of its 36 trials"):
        history.load(history.find("r1"))


def test_a_damaged_trial_on_a_server_is_told(postgres: PostgresServer) -> None:
    where = postgres.fresh_database()
    filled(where, 1)
    database = where.partition("?")[0].rpartition("/")[2]
    with open_history(where) as history:
        digest = history.find("r1").digest
        spoiled(history, digest, lambda statement: postgres.execute(statement, database))


def measured(**changes: object) -> TrialRecord:
    _, records = make_run(1, paths=("sriov",), workloads=("latency",), trials=1)
    return msgspec.structs.replace(records[1], **changes)


ODD = {
    "nan": ({"metrics": {"throughput": math.nan, "loss": 0.0}}, "throughput: nan is no value"),
    "inf": ({"metrics": {"throughput": math.inf, "loss": 0.0}}, "throughput: inf is no value"),
    "negative": ({"metrics": {"retransmits": -1.0}}, "retransmits: -1.0 is no value"),
    "counter": ({"counters": {"irq.guest": -4}}, "irq.guest: -4 is no value"),
    "exits": (
        {"exits": (ExitCount(reason="npf", count=-1, time_ns=3),)},
        "-1 exits npf, 3 ns: no value",
    ),
    "round trip": ({"rtt_ns": (5, -7, 6)}, "a round trip of -7 ns is no value"),
    "window": ({"window_ns": -1}, "window_ns: -1 is no value"),
}


@pytest.mark.parametrize(("changes", "reason"), ODD.values(), ids=ODD.keys())
def test_a_trial_with_what_is_no_value_is_kept_without_it(
    changes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with store.create(tmp_path) as new:
        kept = new.append(measured(**changes))
        assert new.trials() == (kept,), "it is not lost, and it can be read"
    assert not kept.valid and any(reason in each for each in kept.reasons)
    assert all(0 <= value < math.inf for value in (*kept.metrics.values(), *kept.rtt_ns))
    assert all(value >= 0 for value in kept.counters.values()) and kept.window_ns >= 0
    given = changes.get("metrics", {})
    assert isinstance(given, dict)
    if "loss" in given:  # what was a value is one still
        assert "loss" in kept.metrics
    if "rtt_ns" in changes:
        assert kept.rtt_ns == (5, 6)


def test_a_sound_trial_is_stored_as_it_is(tmp_path: Path) -> None:
    with store.create(tmp_path) as new:
        assert new.append(measured()) == measured() == new.trials()[0]


def test_of_earlier_versions_a_trial_that_does_not_count_may_be_odd(other: Path) -> None:
    def old(body: bytes) -> bytes:
        return metric(b"-3.5")(body).replace(b'"valid":true', b'"valid":false')

    rewritten(other / store.FILENAME, "trial", "id", old)
    assert load(other).trials[VICTIM - 1].metrics["throughput"] == -3.5


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A directory whose `jinja2` fails, as a broken installation's does: nobody expects that."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "jinja2.py").write_text("raise RuntimeError('half an upgrade')\n")
    return tmp_path / "broken"


def with_broken(broken: Path, cache: Path, *argv: str) -> CommandResult:
    """A program of ours in a new interpreter, which has loaded nothing yet."""
    env = {"PYTHONPATH": f"{broken}:{ROOT}", "XDG_CACHE_HOME": str(cache), "CI": ""}
    return LocalHost(env=env).run((sys.executable, "-m", *argv), timeout=120, check=False)


def crashed(result: CommandResult, cache: Path) -> None:
    """A status of its own, one line, and the traceback kept where the line says."""
    output = [
        line for line in (result.text + result.error).splitlines() if "nicproof's own" in line
    ]
    assert result.returncode == Status.CRASHED, result.text + result.error
    (line,) = output
    assert "RuntimeError: half an upgrade; at reports/" in line
    file = Path(line.rpartition(" is in ")[2])
    assert file.is_relative_to(cache) and "in <module>" in file.read_text()


@pytest.mark.parametrize("name", ["compare", "report", "against"])
def test_a_fault_of_our_own_is_no_verdict(
    name: str, broken: Path, whole: Path, tmp_path: Path
) -> None:
    argv = {
        "compare": ("harness.cli", "compare", str(whole), str(whole)),
        "report": ("harness.cli", "report", str(whole)),
        "against": ("reports.comparison", str(whole), "--against=main"),
    }[name]
    result = with_broken(broken, tmp_path / "cache", *argv)
    crashed(result, tmp_path / "cache")
    assert "Traceback" not in result.error and result.error.count("\n") == 1


def test_a_traceback_is_never_lost(broken: Path, whole: Path, tmp_path: Path) -> None:
    """Where nothing can be written, and in a CI job, whose machine may be gone."""
    nowhere = tmp_path / "file"
    nowhere.write_text("no directory")
    env = {"PYTHONPATH": f"{broken}:{ROOT}", "XDG_CACHE_HOME": str(nowhere), "CI": ""}
    argv = (sys.executable, "-m", "harness.cli", "report", str(whole))
    temporary = {"TMPDIR": str(tmp_path)}
    result = LocalHost(env=env | temporary).run(argv, timeout=60, check=False)
    assert list(tmp_path.glob("nicproof-*.txt")) and "Traceback" not in result.error
    job = env | {"XDG_CACHE_HOME": str(tmp_path), "CI": "true"}
    result = LocalHost(env=job).run(argv, timeout=60, check=False)
    assert result.returncode == Status.CRASHED and "Traceback" in result.error


@pytest.mark.parametrize("name", ["bench", "ab"])
def test_a_report_that_crashes_ends_the_session_so(name: str, broken: Path, tmp_path: Path) -> None:
    """The run is kept in the history all the same."""
    (broken / "without_lab.py").write_text(WITHOUT_LAB)
    argv = ["harness.cli", name, "--lab=nested", f"--run-dir={tmp_path}/run"]
    argv += [f"--history={tmp_path}/history.db", *(["--b=--virtio packed=on"] * (name == "ab"))]
    result = with_broken(broken, tmp_path / "cache", *argv, "--", "-pwithout_lab")
    crashed(result, tmp_path / "cache")
    assert f"history: synthetic-test-data in {tmp_path}/history.db" in result.text


def test_a_comparison_without_a_report_does_not_end_well(tmp_path: Path) -> None:
    """The made-up run has not the two configurations that `ab` compares."""
    argv = ("harness.cli", "ab", "--lab=nested", f"--run-dir={tmp_path}/run", "--no-history")
    result = without_lab(tmp_path, *argv, "--b=--virtio packed=on", "--", "-pwithout_lab")
    assert result.returncode == Status.FAILED, result.text + result.error
    assert "no report: " in result.text


PLUGIN = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("raise RuntimeError('a bug')", Status.CRASHED),  # INTERNAL_ERROR, pytest's 3
        ("raise pytest.UsageError('a word')", Status.USAGE),  # pytest's 4
        ("raise KeyboardInterrupt", Status.INTERRUPTED),  # pytest's 2
        ("pytest.exit('enough', returncode=3)", Status.CRASHED),
        ("raise SystemExit(3)", Status.CRASHED),
        ("return True", Status.OK),
    ],
)
def test_what_pytest_ends_with_is_told_as_ours(body: str, status: Status, tmp_path: Path) -> None:
    (tmp_path / "odd_plugin.py").write_text(PLUGIN.format(body=body))
    result = bench(tmp_path, "--no-history", plugins=("-podd_plugin",))
    assert result.returncode == status, result.text + result.error


def test_a_plugin_that_ends_the_program_makes_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "odd_plugin.py").write_text("raise SystemExit(3)")
    result = bench(tmp_path, "--no-history", plugins=("-podd_plugin",))
    assert result.returncode == Status.CRASHED, result.text + result.error


def test_no_test_chosen_and_an_unknown_option_are_wrong_usage(tmp_path: Path) -> None:
    for option in ("-knothing_of_that_name", "--no-such-option"):
        result = bench(tmp_path, "--no-history", plugins=(option,))
        assert result.returncode == Status.USAGE, result.text + result.error


FAULTY = """
import pytest

class Plugin:
    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.argname in ("bench", "booted_path", "trial"):
            raise ZeroDivisionError("a bug of the harness")

def pytest_configure(config):
    config.pluginmanager.register(Plugin())
"""


def test_a_bug_amid_a_trial_is_no_failed_trial(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    options = ("--no-history", "--paths=sriov", "--boots=1")
    result = bench(tmp_path, *options, plugins=("-pfaulty", "-x"))
    assert result.returncode == Status.CRASHED, result.text + result.error
    assert "ZeroDivisionError: a bug of the harness" in result.text


BARE = """
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest

from fixtures.comparison import path
from harness.records import store
from harness.core.errors import MissingCapability
from suites.selftest.support.synthetic_run import make_run

@contextmanager
def nothing(bench, planned):
    if planned.path == "sriov":
        raise MissingCapability("permission sriov", "the inventory does not have it")
    raise MissingCapability("IOMMU", "0000:01:00.0 is in no IOMMU group")
    yield

path.boot_path = nothing

class Bare:
    @pytest.fixture(scope="session")
    def bench(self, bench_options):
        info = msgspec.structs.replace(make_run(1)[0], paths=bench_options.paths)
        with store.create(bench_options.run_dir) as records:
            records.save_info(info)
            yield SimpleNamespace(store=records, info=info)

@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    session.config.pluginmanager.register(Bare())  # after the suite's own fixtures
"""


def test_a_bench_of_nothing_but_missing_paths_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(BARE)
    options = ("--no-history", "--paths=sriov,passthrough", "--boots=2", "--workloads=udp")
    result = bench(tmp_path, *options, plugins=("-pbare",))
    output = result.text + result.error
    assert result.returncode == Status.FAILED, output
    assert "nothing was measured: lab has none of the paths that were asked for\n" in output
    assert output.count("  sriov: permission sriov: the inventory does not have it\n") == 1
    assert output.count('  remedy: add "sriov" to `may` of the host\n') == 1
    assert output.count("  remedy: nicproof persist HOST prints what switches it on") == 1


def test_nobody_who_reads_is_no_regression(whole: Path) -> None:
    argv = (
        f"{sys.executable} -m harness.cli compare {whole} {whole} | true; echo ${{PIPESTATUS[0]}}"
    )
    result = LocalHost(env={"PYTHONPATH": str(ROOT)}).run(("bash", "-c", argv), timeout=120)
    assert result.text.strip() == str(int(Status.UNHEARD)), result.error


def test_the_statuses_are_in_help_and_in_the_docs() -> None:
    output = nicproof("--help").text
    table = (ROOT / "docs" / "ci.md").read_text()
    for status in Status:
        assert re.search(rf"^  {status.value} +{re.escape(status.meaning)}$", output, re.MULTILINE)
        assert f"| {status.value} |" in table, f"docs/ci.md does not explain {status!r}"
