"""The machine that the controller itself runs on."""

from __future__ import annotations

import glob
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from harness.errors import DeadlineExpired, LabError
from harness.host.base import CommandResult
from harness.host.strays import own_mark
from harness.host.strays_agent import MARK

GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""


class LocalProcess:
    """A child in a session of its own, so that ending it ends its children too."""

    def __init__(
        self,
        host: str,
        argv: tuple[str, ...],
        env: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.host, self.argv = host, argv
        try:
            self._out: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by close()
            self._err: IO[bytes] = TemporaryFile()  # noqa: SIM115
            self._child = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=self._out,
                stderr=self._err,
                start_new_session=True,
                env=env,
            )
        except OSError as error:
            raise _cannot_start(host, argv, error) from error

    @property
    def pid(self) -> int:
        return self._child.pid

    def poll(self) -> int | None:
        return self._child.poll()

    def wait(self, timeout: float) -> CommandResult:
        try:
            self._child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise DeadlineExpired(
                f"{self.host}: {' '.join(self.argv)} did not end within {timeout:g} s"
            ) from error
        return self.result()

    def result(self) -> CommandResult:
        """Output so far; the status is -1 while it runs."""
        status = self._child.poll()
        return CommandResult(
            self.host,
            self.argv,
            -1 if status is None else status,
            _content(self._out),
            _content(self._err),
        )

    def output(self) -> bytes:
        return _content(self._out)

    def terminate(self) -> None:
        end_group(self._child)

    def close(self) -> None:
        self.terminate()
        self._out.close()
        self._err.close()


def _content(stream: IO[bytes]) -> bytes:
    """All that is in a file into which a child writes: its place there is ours, too, so it must
    not be moved."""
    return os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0)


class PipedProcess(LocalProcess):
    """A child that ends when its input does, see `guard`; so it ends however we do."""

    def __init__(self, host: str, argv: tuple[str, ...]) -> None:
        super().__init__(host, argv, stdin=subprocess.PIPE)

    def terminate(self) -> None:
        if self._child.stdin is not None:
            with suppress(OSError):
                self._child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(2 * GRACE)
        super().terminate()


def end_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM the child's process group, SIGKILL after GRACE; returns when it is reaped."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, sig)
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


def _cannot_start(host: str, argv: Sequence[str], error: OSError) -> LabError:
    return LabError(f"{host}: cannot start {argv[0]}: {error.strerror}")


class LocalHost:
    """This machine."""

    def __init__(self, name: str = "localhost", env: dict[str, str] | None = None) -> None:
        self.name = name
        self._env = env or {}

    @property
    def _environment(self) -> dict[str, str]:
        """With the mark of what we start, see harness/host/strays.py; and programs read what is
        said, so all is said in one language."""
        return {**os.environ, "LC_ALL": "C", **self._env, MARK: own_mark()}

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        argv = tuple(argv)
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=self._environment,
            )
        except OSError as error:
            raise _cannot_start(self.name, argv, error) from error
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise DeadlineExpired(
                f"{self.name}: {' '.join(argv)} did not end within {timeout:g} s"
            ) from error
        finally:
            end_group(child)
        result = CommandResult(self.name, argv, child.returncode, out, err)
        return result.checked() if check else result

    @contextmanager
    def spawn(self, argv: Sequence[str]) -> Iterator[LocalProcess]:
        process = LocalProcess(self.name, tuple(argv), self._environment)
        try:
            yield process
        finally:
            process.close()

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        try:
            with Path(path).open("wb", buffering=0) as file:
                file.write(data)
        except OSError as error:
            raise LabError(f"{self.name}: cannot write {path}: {error.strerror}") from error

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(glob.glob(pattern)))

    @contextmanager
    def forward(self, path: str) -> Iterator[str]:
        yield path
