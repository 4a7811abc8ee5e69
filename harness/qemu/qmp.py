"""QEMU's machine protocol, made synchronous: every call returns, fails or runs out of time.

The protocol itself is spoken by the `qemu.qmp` package, which is asyncio only. Its event loop runs
in a thread that lives exactly as long as the context of `Qmp`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, Message, QMPClient, QMPError, Runstate

from harness.core.errors import DeadlineExpired, GuestGone, LabError

T = TypeVar("T")

HANDOVER = 2.0
"""Seconds that the loop's thread may be late with an answer it has; it is only ever scheduling."""


class QmpError(LabError):
    """QEMU refused a command. `error_class` is QMP's own, mostly GenericError."""

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"QMP {command}: {error_class}: {description}")
        self.command, self.error_class, self.description = command, error_class, description


class QemuGone(GuestGone):
    """The QMP connection cannot be made or is lost: that QEMU has ended, or is about to."""


@dataclass(frozen=True)
class Event:
    """What QEMU told unasked, such as STOP or SHUTDOWN. `time` is QEMU's clock, epoch seconds."""

    name: str
    data: dict[str, Any]
    time: float


class Qmp:
    """A connection to the QMP socket of one QEMU.

    with Qmp("/run/nicproof/g0/qmp.sock") as qmp:
        qmp.command("query-status")

    `timeout` (seconds) is the limit of connecting and of each command that names none.
    """

    def __init__(self, path: str, *, timeout: float = 10.0, name: str = "QEMU") -> None:
        self.path, self.timeout, self.name = path, timeout, name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._session = _Session()

    def __enter__(self) -> Qmp:
        self._thread.start()
        try:
            self._call(self._session.open(self.path), self.timeout, f"connecting to {self.path}")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    @property
    def alive(self) -> bool:
        """Whether QEMU still holds its end of the connection."""
        return self._session.running

    def command(self, command: str, timeout: float | None = None, /, **arguments: object) -> Any:
        """What QEMU returns for `command`.

        Raises QmpError if QEMU refuses, DeadlineExpired when it does not answer in time (its late
        answer is dropped, the connection stays usable) and QemuGone when it has ended.
        """
        limit = self.timeout if timeout is None else timeout
        return self._call(self._session.execute(command, arguments), limit, command)

    def wait_event(self, names: Collection[str], timeout: float) -> Event:
        """The oldest event called one of `names` that no earlier call has returned.

        Events of other names are kept for later calls. Raises as `command` does.
        """
        wanted = frozenset(names)
        what = f"the event {' or '.join(sorted(wanted))}"
        return self._call(self._session.event(wanted), timeout, what)

    def _call(self, work: Coroutine[Any, Any, T], limit: float, what: str) -> T:
        """Run `work` in the loop's thread; translate what it raises."""
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, limit), self._loop)
        try:
            return future.result(limit + HANDOVER)
        except TimeoutError as error:
            raise DeadlineExpired(
                f"{self.name} (QMP): {what} was not answered within {limit:g} s"
            ) from error
        except ExecuteError as error:
            raise QmpError(what, error.error_class, str(error)) from error
        except (QMPError, OSError, EOFError) as error:
            raise QemuGone(f"{self.name} is gone (QMP, {what}): {_reason(error)}") from error
        finally:
            future.cancel()

    def _close(self) -> None:
        # A QEMU that hangs must not keep us: whatever is left after the limit goes with the loop.
        with suppress(LabError):
            self._call(self._session.close(), 2.0, "closing the connection")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANDOVER)
        if not self._thread.is_alive():
            self._loop.close()


def vcpu_threads(qmp: Qmp) -> tuple[int, ...]:
    """Thread ids of the vCPUs on the host that runs QEMU, in the order of the CPUs' index."""
    cpus = qmp.command("query-cpus-fast")
    return tuple(cpu["thread-id"] for cpu in sorted(cpus, key=lambda cpu: int(cpu["cpu-index"])))


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


class _Session:
    """The asynchronous half: everything here runs in the loop's thread."""

    def __init__(self) -> None:
        self._client = QMPClient("nicproof")
        # Its failures reach the caller as exceptions; its log would print them a second time.
        self._client.logger.setLevel(logging.CRITICAL)
        self._listener = EventListener()
        self._client.register_listener(self._listener)
        self._unclaimed: list[Event] = []
        self._gone: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return bool(self._client.runstate == Runstate.RUNNING)

    async def open(self, path: str) -> None:
        await self._client.connect(path)
        self._gone = asyncio.create_task(self._until_gone())

    async def close(self) -> None:
        if self._client.runstate != Runstate.IDLE:
            with suppress(EOFError, OSError, QMPError):
                await self._client.disconnect()

    async def execute(self, command: str, arguments: dict[str, object]) -> object:
        return await self._client.execute(command, arguments or None)

    async def event(self, names: frozenset[str]) -> Event:
        while True:
            for message in self._listener.clear():
                self._note(message)
            for event in self._unclaimed:
                if event.name in names:
                    self._unclaimed.remove(event)
                    return event
            if self._gone is None or self._gone.done():
                raise EOFError("the connection ended before that")
            await self._something_new(self._gone)

    def _note(self, message: Message) -> None:
        stamp: Any = message["timestamp"]
        data: Any = message.get("data", {})
        when = stamp["seconds"] + stamp["microseconds"] / 1e6
        self._unclaimed.append(Event(str(message["event"]), data, when))

    async def _something_new(self, gone: asyncio.Task[None]) -> None:
        """Return on an event, or on the loss of the connection."""
        news = asyncio.create_task(self._listener.get())
        try:
            await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not news.cancel():  # it is done: keep what it took from the queue
                self._note(news.result())

    async def _until_gone(self) -> None:
        while self.running:
            await self._client.runstate_changed()
