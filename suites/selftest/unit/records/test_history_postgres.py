"""What only a PostgreSQL history can go through: servers, rights, passwords."""

from __future__ import annotations

import sys

import pytest

from harness.core.errors import ConfigError, StoreFailed
from harness.measure.environment import describe_controller
from harness.records.history.db import Location
from harness.records.history.runs import check_usable, open_history
from suites.selftest.support.postgres_server import PostgresServer
from suites.selftest.unit.records.test_history import small_run

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/runs", "the server cannot be reached"),
        (f"postgresql://me@127.0.0.1:1/runs?password={SECRET}", "the server cannot be reached"),
        (f"postgresql://me:x/{SECRET}@127.0.0.1:1/runs", "the server cannot be reached"),
        (f"postgresql://me:x@127.0.0.1:{SECRET}/runs", "this postgresql URL cannot be read"),
        (f"mysql://me:{SECRET}@127.0.0.1/runs", r"of this kind \(mysql\)"),
        ("sqlite://", r"of this kind \(sqlite\)"),
    ],
)
def test_what_cannot_be_reached_is_told_without_its_password(where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught, open_history(where):
        pass
    assert SECRET not in str(caught.value)


def test_a_place_is_shown_without_its_password() -> None:
    shown = "postgresql://me@db.example:5433/runs"
    assert (
        str(Location.of(f"postgres://me:{SECRET}@db.example:5433/runs?password={SECRET}")) == shown
    )


def test_a_record_of_the_command_is_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = (f"postgresql://me:a/{SECRET}@db/runs", f"postgresql://me@db/runs?password={SECRET}&x=1")
    monkeypatch.setattr(sys, "argv", ["pytest", *(f"--history={url}" for url in urls), "--name=m"])
    assert describe_controller()["command"] == (
        "pytest --history=postgresql://me:***@db/runs "
        "--history=postgresql://me@db/runs?password=***&x=1 --name=m"
    )


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'psycopg\[binary\]"),
        open_history("postgresql://127.0.0.1:1/runs"),
    ):
        pass


def test_a_server_without_an_encoding_of_its_own_will_do(postgres: PostgresServer) -> None:
    """SQL_ASCII is what initdb takes in the C locale; psycopg then gives bytes for text."""
    info, trials = small_run(1, nic="82576 \u00e9")
    with open_history(postgres.fresh_database("SQL_ASCII")) as history:
        added = history.add(info, trials, "main")
        assert history.load(added)[0] == info


def test_a_database_that_is_not_there(postgres: PostgresServer) -> None:
    with (
        pytest.raises(ConfigError, match='database "elsewhere" does not exist'),
        open_history(postgres.url("elsewhere")),
    ):
        pass


def test_others_tables_are_left_alone(postgres: PostgresServer) -> None:
    """Beside tables of other names there is room; a `run` of somebody else's is not ours."""
    url = postgres.fresh_database()
    database = str(Location.of(url).url.database)
    postgres.execute("CREATE TABLE unrelated (a int)", database)
    check_usable(url)
    url = postgres.fresh_database()
    postgres.execute("CREATE TABLE run (a int)", str(Location.of(url).url.database))
    with pytest.raises(ConfigError, match="not one of nicproof's histories"):
        check_usable(url)


def test_a_history_that_may_only_be_read(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    database = str(Location.of(url).url.database)
    with open_history(url) as history:
        entry = history.add(*small_run(1))
    postgres.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with open_history(url) as history:
        assert history.entries() == (entry,)
        with pytest.raises(ConfigError, match="it may not be written"):
            history.ensure_writable()
        with pytest.raises(ConfigError, match="it may not be written"):
            history.add(*small_run(2))


def test_a_user_without_rights(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    check_usable(url)
    database = str(Location.of(url).url.database)
    postgres.execute("CREATE ROLE guest LOGIN", database)
    guest = url.replace("//nicproof@", "//guest@")
    with pytest.raises(ConfigError, match=r"it may not be written.*permission denied"):
        check_usable(guest)
    postgres.execute("GRANT SELECT ON nicproof_history, run, trial TO guest", database)
    with open_history(guest) as history:
        assert history.entries() == ()
        with pytest.raises(ConfigError, match=r"it may not be written.*permission denied"):
            history.ensure_writable()


def test_a_server_that_goes_away_is_told_and_the_next_try_works(postgres: PostgresServer) -> None:
    url = postgres.fresh_database()
    with open_history(url) as history:
        first = history.add(*small_run(1))
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{Location.of(url).url.database}'"
        )
        with pytest.raises(StoreFailed, match="what was stored before is intact"):
            history.add(*small_run(2))
        second = history.add(*small_run(2))
        assert history.entries() == (second, first)
