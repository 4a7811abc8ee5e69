"""QEMU's command line for a guest: data in, argv out, nothing is started here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import ConfigError
from harness.hosts.hugepages import PAGE_MIB
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import DiskImage, GuestConfig

RUN = "/run/nicproof"
MEMORY = "ram0"
"""The id of a guest's memory where it is not QEMU's own choice."""

AGENT_PORT = "org.qemu.guest_agent.0"
EDGES_PORT = "nicproof.edges.0"
"""By what goes through it a guest learns of the edges of a window (harness.measure.endpoint)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


@dataclass(frozen=True)
class GuestFiles:
    """Where a running guest's files lie on its host; the directory is private to it."""

    directory: str

    @classmethod
    def of(cls, name: str, run: str = RUN, token: str = "") -> GuestFiles:
        """The files of the guest `name`; `token` tells it from others of that name.

        Raises ConfigError for a name unfit for a file.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a guest: letters, digits, '.', '_', '-'")
        return cls(f"{run}/{name}-{token}" if token else f"{run}/{name}")

    @property
    def qmp(self) -> str:
        return f"{self.directory}/qmp.sock"

    @property
    def agent(self) -> str:
        return f"{self.directory}/agent.sock"

    @property
    def edges(self) -> str:
        return f"{self.directory}/edges.sock"

    @property
    def serial(self) -> str:
        return f"{self.directory}/serial.log"

    @property
    def pidfile(self) -> str:
        return f"{self.directory}/qemu.pid"

    @property
    def stderr(self) -> str:
        return f"{self.directory}/qemu.log"


def qemu_argv(
    config: GuestConfig, files: GuestFiles, attachments: Sequence[NicAttachment]
) -> tuple[str, ...]:
    """The whole command line.

    Raises ConfigError if more than one attachment brings open files: the numbers under which QEMU
    inherits them stand in the attachment's own arguments.
    """
    if sum(bool(attachment.fds) for attachment in attachments) > 1:
        raise ConfigError("only one NIC of a guest can be given to QEMU as open files")
    return (
        *_pinned(config.cpus),
        *config.qemu,
        *("-name", f"{config.name},debug-threads=on"),  # thread names, for CPU accounting
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", config.machine + (f",memory-backend={MEMORY}" if config.hugepages else "")),
        *("-accel", config.accel),
        *("-cpu", config.cpu),
        *("-smp", str(config.vcpus)),
        *_memory(config),
        *_boot(config),
        *_channels(files),
        *(argument for attachment in attachments for argument in attachment.device_args),
        *config.extra_args,
        *("-daemonize", "-pidfile", files.pidfile),
        # With a log QEMU keeps its standard error when it becomes a daemon (os-posix.c).
        *("-D", files.stderr, "-d", "unimp"),
    )


def _memory(config: GuestConfig) -> Iterator[str]:
    """Hugepages come from a memfd, so no hugetlbfs has to be mounted. They are taken at the start:
    if they are not there, QEMU refuses then, and no guest dies of it later."""
    yield from ("-m", str(config.memory_mib))
    if config.hugepages:
        node = config.hugepages.node
        bound = "" if node is None else f",host-nodes={node},policy=bind"
        yield "-object"
        yield (
            f"memory-backend-memfd,id={MEMORY},size={config.memory_mib}M,prealloc=on,"
            f"hugetlb=on,hugetlbsize={PAGE_MIB}M{bound}"
        )


def _pinned(cpus: tuple[int, ...]) -> tuple[str, ...]:
    """What QEMU is started by, so that all its threads run on these CPUs: they inherit it."""
    return ("taskset", "--cpu-list", cpu_list(cpus)) if cpus else ()


def escaped(path: str | Path) -> str:
    """As QEMU takes it in the value of an option: a comma is written twice."""
    return str(path).replace(",", ",,")


def cpu_list(cpus: tuple[int, ...]) -> str:
    """As taskset(1) takes it."""
    return ",".join(map(str, cpus))


def _boot(config: GuestConfig) -> Iterator[str]:
    if isinstance(config.image, DiskImage):
        # snapshot=on: writes go to a file that is already deleted, so the image never changes.
        file = f"file={escaped(config.image.path)},format={config.image.format}"
        yield from ("-drive", f"{file},if=none,id=disk0,snapshot=on")
        yield from ("-device", "virtio-blk-pci,drive=disk0")
    else:
        yield from ("-kernel", config.image.kernel, "-initrd", config.image.initrd)
        yield from ("-append", config.image.append)


def _channels(files: GuestFiles) -> Iterator[str]:
    yield from ("-chardev", f"file,id=serial,path={files.serial}", "-serial", "chardev:serial")
    yield from ("-chardev", f"socket,id=qmp,path={files.qmp},server=on,wait=off")
    yield from ("-mon", "chardev=qmp,mode=control")
    yield from ("-chardev", f"socket,id=agent,path={files.agent},server=on,wait=off")
    yield from ("-chardev", f"socket,id=edges,path={files.edges},server=on,wait=off")
    # Each port is two queues that the guest must set up; 0 is taken by consoles, 1 and 2 are ours.
    yield from ("-device", "virtio-serial-pci,max_ports=3")
    yield from ("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}")
    yield from ("-device", f"virtserialport,chardev=edges,name={EDGES_PORT}")
