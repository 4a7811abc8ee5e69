"""A PostgreSQL server for the self-tests alone: files of its own, a Unix socket, no port."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from harness.core.deadline import Deadline
from harness.hosts.local import LocalHost

USER = "nicproof"


def programs() -> Path | None:
    """Where initdb and postgres are: Debian keeps them off the PATH, by version."""
    found = [Path(path) for path in LocalHost().glob("/usr/lib/postgresql/*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve())
    return found[-1].parent if found else None


class PostgresServer:
    """A running server; `directory` has its socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._databases = 0

    def fresh_database(self, encoding: str = "UTF8") -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"history{self._databases}"
        self.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.directory}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def postgres_server(bin: Path) -> Iterator[PostgresServer]:
    """A server by the programs in `bin`, gone with all it had when the context ends."""
    user = _unprivileged()
    directory = Path(tempfile.mkdtemp(prefix="nicproof-postgres-"))  # its path has to be short
    try:
        if user is not None:
            os.chown(directory, user.pw_uid, user.pw_gid)
        drop = ("setpriv", "--pdeathsig", "INT", *_as(user))
        data, host = directory / "data", LocalHost()
        made: tuple[str, ...] = ("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8")
        made = (*made, f"--username={USER}", f"--pgdata={data}")
        host.run((*drop, str(bin / made[0]), *made[1:]), timeout=60)
        options = ("-k", str(directory), "-c", "listen_addresses=")
        with host.spawn((*drop, str(bin / "postgres"), "-D", str(data), *options)) as process:
            server = PostgresServer(directory)

            def answers() -> bool:
                assert process.poll() is None, process.result().error
                try:
                    server.execute("SELECT 1")
                except psycopg.OperationalError:
                    return False
                return True

            Deadline(30, "the PostgreSQL server's first answer").poll(answers)
            yield server
    finally:
        shutil.rmtree(directory)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to be instead of root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _as(user: pwd.struct_passwd | None) -> tuple[str, ...]:
    if user is None:
        return ()
    return (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
