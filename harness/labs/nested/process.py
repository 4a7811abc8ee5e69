"""A QEMU on the controller: how it is spoken to, and what is said of its end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.hosts.local import LocalProcess
from harness.qemu.argv import escaped
from harness.qemu.qmp import QemuGone, Qmp

QMP_LIMIT = 20.0
"""Seconds from QEMU's start to its first answer."""

TAIL = 8
"""Lines of a log in an error message."""

CABLE_WARNING = "hub 0 is not connected to host network"
"""True, and what we want."""


def control_argv(qmp: Path, serial: Path) -> tuple[str, ...]:
    """QEMU's options for its QMP socket and for the file that its first serial port writes."""
    return (
        *("-chardev", f"socket,id=qmp,path={escaped(qmp)},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"file,id=serial,path={escaped(serial)}", "-serial", "chardev:serial"),
    )


def connect(process: LocalProcess, socket: Path, serial: Path, stack: ExitStack) -> Qmp:
    """QMP, as soon as QEMU answers, until `stack` unwinds. LabError if QEMU ends instead.

    The socket is there a moment before anybody listens on it, hence the second attempt.
    """
    deadline = Deadline(QMP_LIMIT, "QMP's answer from the lab VM")
    while True:
        deadline.poll(lambda: socket.exists() or process.poll() is not None, interval=0.01)
        try:
            return stack.enter_context(Qmp(str(socket), name="the lab VM"))
        except QemuGone as error:
            if process.poll() is not None:
                why = describe_end(process, serial)
                raise LabError(f"the lab VM did not start: {why}") from error
            deadline.check(str(error))
            time.sleep(0.02)


def describe_end(process: LocalProcess, serial: Path) -> str:
    """Whether QEMU runs, how it ended if not, and the last lines of L1's serial log."""
    status = process.poll()
    state = "its QEMU still runs" if status is None else f"its QEMU ended with status {status}"
    output = "" if status is None else tail(process.result().error)
    log = tail(serial.read_text(errors="replace")) if serial.exists() else ""
    ends = f"; {serial} ends with:\n{log}" if log else ""
    return state + (f" and said:\n{output}" if output else "") + ends


def tail(text: str) -> str:
    """The last lines of a log, indented; without what QEMU says of the cable in every lab."""
    lines = [line for line in text.splitlines() if line.strip() and CABLE_WARNING not in line]
    return "\n".join(f"    {line}" for line in lines[-TAIL:])
