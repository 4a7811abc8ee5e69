"""Booting a guest: from a configuration and provisioned NICs to a Host that answers."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, GuestSilent, LabError, RunOver, StoreFailed
from harness.guest.agent import GuestHost
from harness.guest.qga import AgentConnection, connect_agent
from harness.hosts.base import Host
from harness.journal.journal import Journal
from harness.qemu.argv import RUN, GuestFiles, cpu_list, qemu_argv
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import GuestConfig
from harness.qemu.process import QemuProcess, qemu_process
from harness.qemu.qmp import QemuGone, Qmp, vcpu_threads

PANIC = re.compile(r"Kernel panic - not syncing: .*|KVM internal error.*|BUG: .*")

STUCK = re.compile(r"grub rescue>|\(initramfs\)|dracut:/#|You are in (?:emergency|rescue) mode")
"""What says on the serial console that a disk image does not come up: GRUB, Debian's and Red Hat's
initial roots, systemd."""

LOGIN = re.compile(r"login:\s*\Z")
"""A getty's last words: the boot is over, and nobody answers (agetty(8))."""

AGENT_GRACE = 30.0
"""Seconds from the login's prompt on that an agent may take, or as many as the boot took."""

LOOK = 0.25
"""Seconds between looks at QEMU while the guest boots; they cost the host nothing."""

LOOK_AT_SERIAL = 5.0
"""Seconds between looks at the serial log, which cost a command on the host."""

BOOT_LIMIT = 180.0
"""Seconds that the micro guest may take to its agent. It takes 5 in the nested lab, and 12 times as
many there on a machine that is busy with four other things."""

TAIL = 4000
"""Characters of the serial log that an error shows."""


@dataclass(frozen=True)
class Guest:
    """A guest that answers. `vcpu_tids` are thread ids on the host that runs QEMU."""

    name: str
    host: GuestHost
    qmp: Qmp
    process: QemuProcess
    vcpu_tids: tuple[int, ...]

    @property
    def qemu_pid(self) -> int:
        return self.process.pid

    def serial_tail(self, characters: int = TAIL) -> str:
        """The end of the guest's serial log; "" if it cannot be had."""
        return _serial_tail(self.process, characters)

    def diagnosis(self) -> str:
        """What is known about a guest that misbehaves, for an error message."""
        return _diagnosis(self.name, self.process, self.qmp)


@dataclass(frozen=True)
class StartedGuest:
    """A guest whose QEMU runs. Its agent is connected, but nobody in it may listen yet."""

    agent: AgentConnection
    qmp: Qmp
    process: QemuProcess
    vcpu_tids: tuple[int, ...]

    def answering(self, deadline: Deadline) -> Guest:
        """The guest, once its agent answers; raises as `boot` does."""
        _await_agent(self.agent, deadline, self.process, self.qmp)
        name, host = self.agent.guest, GuestHost(self.agent)
        return Guest(name, host, self.qmp, self.process, self.vcpu_tids)


@contextmanager
def boot(
    host: Host,
    config: GuestConfig,
    attachments: Sequence[NicAttachment],
    *,
    log_dir: Path,
    deadline_s: float = BOOT_LIMIT,
    journal: Journal | None = None,
    run_directory: str = RUN,
) -> Iterator[Guest]:
    """Boot a guest on `host` and yield it once its agent answers; it ends with the context.

    Its serial log and QEMU's own words go to `log_dir` on the controller, whatever happens.
    Raises LabError, with the serial log's end, if QEMU refuses to start or ends, the guest
    panics or says that it does not come up, or nothing answers within `deadline_s` seconds (then
    as GuestSilent); RunOver if it stands at a login and has no agent, as no guest will then.
    """
    deadline = Deadline(deadline_s, f"the boot of guest {config.name}")
    starting = started(
        host,
        config,
        attachments,
        log_dir=log_dir,
        deadline=deadline,
        journal=journal,
        run_directory=run_directory,
    )
    with starting as guest:
        yield guest.answering(deadline)


@contextmanager
def started(
    host: Host,
    config: GuestConfig,
    attachments: Sequence[NicAttachment],
    *,
    log_dir: Path,
    deadline: Deadline,
    journal: Journal | None = None,
    run_directory: str = RUN,
) -> Iterator[StartedGuest]:
    """As `boot`, but yields as soon as QEMU runs: for a guest that is yet to arrive in it."""
    files = GuestFiles.of(config.name, run_directory, uuid.uuid4().hex[:8])
    argv = qemu_argv(config, files, attachments)
    fds = tuple(fd for attachment in attachments for fd in attachment.fds)
    with ExitStack() as stack:
        process = stack.enter_context(
            qemu_process(host, argv, files, fds=fds, journal=journal, timeout=deadline.left)
        )
        stack.enter_context(logs_kept(process, log_dir, config.name))
        socket = stack.enter_context(host.forward(files.qmp))
        qmp = stack.enter_context(Qmp(socket, name=f"guest {config.name}"))
        threads = vcpu_threads(qmp)
        pin(process, config, threads)
        socket = stack.enter_context(host.forward(files.agent))
        agent = stack.enter_context(connect_agent(config.name, socket))
        yield StartedGuest(agent, qmp, process, threads)


PIN = 'while [ $# -gt 0 ]; do taskset --pid --cpu-list "$1" "$2" || exit 1; shift 2; done'


def pin(process: QemuProcess, config: GuestConfig, vcpus: Sequence[int]) -> None:
    """Pin what is not to be on the CPUs of QEMU, or has not inherited them: vhost workers, and
    `vcpus`, the vCPUs' threads, if each has a CPU of its own."""
    wanted: list[str] = []
    if config.vhost_cpus:
        for cpu, thread in zip(cycle(config.vhost_cpus), process.vhost_workers(), strict=False):
            wanted += (str(cpu), str(thread))
    elif config.cpus:
        for thread in process.vhost_threads():
            wanted += (cpu_list(config.cpus), str(thread))
    if config.vcpu_cpus:
        for cpu, thread in zip(config.vcpu_cpus, vcpus, strict=True):
            wanted += (str(cpu), str(thread))
    if wanted:
        process.host.run(("sh", "-c", PIN, "sh", *wanted))


class _NoAgent(LabError):
    """A guest has booted without one."""


def _await_agent(
    agent: AgentConnection, deadline: Deadline, process: QemuProcess, qmp: Qmp
) -> None:
    """Return when the agent answers; say what happened if it never will."""
    begun = time.monotonic()
    next_look = begun + LOOK_AT_SERIAL
    hopeless = math.inf  # when a guest that stands at its login is given up

    def check() -> None:
        nonlocal next_look, hopeless
        now = time.monotonic()
        if not qmp.alive:
            raise QemuGone("QEMU ended")
        if now >= next_look:
            next_look = now + LOOK_AT_SERIAL
            tail = _serial_tail(process)
            if PANIC.search(tail):
                raise LabError("the guest panicked")
            if STUCK.search(tail):
                raise LabError("the guest does not come up")
            if LOGIN.search(tail):
                hopeless = min(hopeless, now + max(AGENT_GRACE, now - begun))
        if now >= hopeless:
            raise _NoAgent("it has booted, and its agent does not answer")

    try:
        agent.await_first(deadline, check, LOOK)
    except _NoAgent as error:
        raise RunOver(
            f"guest {agent.guest} has booted, to a login, but no qemu-guest-agent answers: "
            f"{_diagnosis(agent.guest, process, qmp)}",
            remedy="in the image: install qemu-guest-agent, and have it started at boot",
        ) from error
    except DeadlineExpired as error:
        why = f"guest {agent.guest} never answered within {deadline.seconds:g} s"
        raise GuestSilent(f"{why}: {_diagnosis(agent.guest, process, qmp)}") from error
    except LabError as error:
        _settle(qmp)
        why = f"guest {agent.guest} {'hung' if qmp.alive else 'ended'} while it booted"
        raise LabError(f"{why}: {_diagnosis(agent.guest, process, qmp)}") from error


def _settle(qmp: Qmp) -> None:
    """QEMU's sockets close one after the other; wait for the last before saying what runs."""
    with suppress(DeadlineExpired):
        Deadline(1.0, "QEMU's end").poll(lambda: not qmp.alive)


def _diagnosis(name: str, process: QemuProcess, qmp: Qmp) -> str:
    tail = _serial_tail(process)
    panic = PANIC.search(tail)
    parts = ["its QEMU runs" if qmp.alive else "its QEMU has ended"]
    if panic:
        parts.append(f"its kernel said: {panic[0].strip()}")
    if message := process.message().strip():
        parts.append(f"QEMU said: {message[-TAIL:]}")
    parts.append(f"the serial log of {name} ends with:\n{tail}" if tail else "no serial output")
    return "; ".join(parts)


def _serial_tail(process: QemuProcess, characters: int = TAIL) -> str:
    with suppress(LabError):
        tail = ("tail", "-c", str(characters), process.files.serial)
        return process.host.run(tail, check=False).text.strip()
    return ""


@contextmanager
def logs_kept(process: QemuProcess, log_dir: Path, name: str) -> Iterator[None]:
    """Keep the guest's logs when it ends; that they cannot be kept must not hide why it ended."""
    try:
        yield
    except BaseException:
        with suppress(StoreFailed):
            _keep_logs(process, log_dir, name)
        raise
    _keep_logs(process, log_dir, name)


def _keep_logs(process: QemuProcess, log_dir: Path, name: str) -> None:
    """Copy the guest's logs to the controller, if the host still has them. StoreFailed if the
    controller's disk refuses them."""
    files = process.files
    try:
        both = process.host.run(("tail", "-v", "-c", "+1", files.serial, files.stderr)).stdout
    except LabError:
        return
    serial, _, message = both.partition(f"==> {files.stderr} <==\n".encode())
    _, _, serial = serial.partition(b"<==\n")
    try:
        log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (log_dir / f"{name}.serial.log").write_bytes(serial.removesuffix(b"\n"))
        if message:
            (log_dir / f"{name}.qemu.log").write_bytes(message)
    except OSError as error:
        raise StoreFailed(
            f"{log_dir}: cannot keep the logs of guest {name}: {error.strerror}",
            remedy="free space on that disk",
        ) from error
