"""The machine that the controller itself runs on."""

from __future__ import annotations

import glob
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from harness.core.errors import DeadlineExpired, LabError, NotStarted, Refused
from harness.hosts.base import SBIN, CommandResult
from harness.hosts.orphans import own_mark
from harness.hosts.orphans_agent import MARK

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
        return _status(self._child)

    def wait(self, timeout: float) -> CommandResult:
        if not _ends(self._child, timeout):
            raise DeadlineExpired(
                f"{self.host}: {' '.join(self.argv)} did not end within {timeout:g} s"
            )
        return self.result()

    def result(self) -> CommandResult:
        """Output so far; the status is -1 while it runs."""
        status = self.poll()
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
        _ends(self._child, 2 * GRACE)
        super().terminate()


def _status(child: subprocess.Popen[bytes]) -> int | None:
    """As Popen.poll, but the child is not reaped while it has children that live: so its number
    stays its group's, which can then be ended whatever has become of the child."""
    if child.returncode is not None:
        return child.returncode
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    if not _group_lives(child.pid):
        return child.wait()
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _ends(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for its end, at most so long, without reaping it; whether it has ended."""
    if _status(child) is not None:
        return True
    try:
        handle = os.pidfd_open(child.pid)
    except ProcessLookupError:  # another thread has reaped it meanwhile
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM the child's process group, SIGKILL after GRACE to what is left of it; returns when
    the child is reaped. Nothing is sent once it has been: its number may be another's by then.

    A shell that has ended leaves children in its group, so it is the group that is waited for.
    """
    if child.returncode is not None:
        return
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, sig)
        end = time.monotonic() + GRACE
        while (left := _group_lives(child.pid)) and time.monotonic() < end:
            time.sleep(0.01)
        if not left:
            break
    with suppress(subprocess.TimeoutExpired):  # in a system call that must come to its end
        child.wait(GRACE)


def _group_lives(group: int) -> bool:
    """Whether any process of it is neither dead nor waiting to be reaped."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, number = stat.read_text(errors="replace").rpartition(") ")[2].split()[:3]
            if int(number) == group and state not in "ZX":
                return True
    return False


def _cannot_start(host: str, argv: Sequence[str], error: OSError) -> NotStarted:
    return NotStarted(f"{host}: cannot start {argv[0]}: {error.strerror}")


class LocalHost:
    """This machine."""

    def __init__(self, name: str = "localhost", env: dict[str, str] | None = None) -> None:
        self.name = name
        self._env = env or {}

    @property
    def _environment(self) -> dict[str, str]:
        """With the mark of what we start, see harness/hosts/orphans.py. What is said is read by
        programs, so all is said in one language."""
        path = f"{os.environ.get('PATH', os.defpath)}:{SBIN}"
        return {**os.environ, "LC_ALL": "C", "PATH": path, **self._env, MARK: own_mark()}

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
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LabError(f"{self.name}: cannot read {path}: {error.strerror}") from error

    def write(self, path: str, data: bytes) -> None:
        try:
            with Path(path).open("wb", buffering=0) as file:
                file.write(data)
        except OSError as error:
            raise Refused(f"{self.name}: cannot write {path}: {error.strerror}") from error

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(glob.glob(pattern)))

    @contextmanager
    def forward(self, path: str) -> Iterator[str]:
        yield path
