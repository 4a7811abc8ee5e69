"""What a guest is made of, as frozen data; the paths in it are paths on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.errors import ConfigError
from harness.hosts.hugepages import PAGE_MIB


@dataclass(frozen=True)
class DeployedImage:
    """The micro guest's kernel and initial root on a host, and the kernel's command line."""

    kernel: str
    initrd: str
    append: str = ""


@dataclass(frozen=True)
class DiskImage:
    """A disk with an operating system that runs qemu-guest-agent. It is never written to."""

    path: str
    format: Literal["qcow2", "raw"]


@dataclass(frozen=True)
class Hugepages:
    """Pages of 2 MiB of the host that its guests may take, `count` in all."""

    count: int
    node: int | None = None  # the NUMA node that they are on; None: any

    def __str__(self) -> str:
        where = "" if self.node is None else f" of NUMA node {self.node}"
        return f"hugepages of {PAGE_MIB} MiB{where}"


@dataclass(frozen=True)
class GuestConfig:
    """A guest, apart from its NICs.

    `machine` is the whole value of -machine. Its defaults leave out what no network path needs
    and each boot would have to probe; the HPET is off as libvirt has it for KVM guests.
    """

    image: DeployedImage | DiskImage
    name: str = "guest"
    memory_mib: int = 256
    vcpus: int = 1
    machine: str = "q35,sata=off,i8042=off,hpet=off,vmport=off,smbus=off"
    accel: str = "kvm"
    cpu: str = "host"
    extra_args: tuple[str, ...] = ()
    qemu: tuple[str, ...] = ("qemu-system-x86_64",)
    cpus: tuple[int, ...] = ()  # of the host, for all of the guest's threads; empty: any
    vcpu_cpus: tuple[int, ...] = ()  # one of the host for each vCPU; empty: among `cpus`
    vhost_cpus: tuple[int, ...] = ()  # for its vhost workers, in turn; empty: among `cpus`
    hugepages: Hugepages | None = None  # that its memory is made of; None: of ordinary pages

    def __post_init__(self) -> None:
        """ConfigError if there are not hugepages enough for its memory."""
        if self.hugepages and self.pages > self.hugepages.count:
            raise ConfigError(
                f"a guest of {self.memory_mib} MiB takes {self.pages} {self.hugepages}, and the "
                f"inventory promises {self.hugepages.count}",
                remedy="raise hugepages in the inventory, or take it out",
            )

    @property
    def pages(self) -> int:
        """Hugepages that its memory takes."""
        return -(-self.memory_mib // PAGE_MIB)
