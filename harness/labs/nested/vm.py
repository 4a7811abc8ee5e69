"""The lab VM (L1) as QEMU on the controller: its command line, and the process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import HostUnreachable, LabError
from harness.hosts.local import LocalHost, LocalProcess
from harness.inventory.view import ranges
from harness.labs.nested.accel import Accelerator
from harness.labs.nested.image import LabImage
from harness.labs.nested.machine import ADDRESS, OTHER_CPUS
from harness.labs.nested.process import connect, control_argv, describe_end
from harness.labs.nested.toolchain import Toolchain
from harness.labs.shape import for_guests
from harness.qemu.argv import escaped
from harness.qemu.qmp import Qmp

APPEND = "console=ttyS0 panic=-1 quiet cryptomgr.notests intel_iommu=on iommu=pt"
"""L1's kernel command line. A panic is printed all the same and ends QEMU (-no-reboot)."""

FORWARDED = re.compile(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s")
"""A line of QEMU's `info usernet`."""


CPU_MIB = 1024
"""Memory of L1 for each CPU; a guest takes 256 MiB."""


@dataclass(frozen=True)
class LabMachine:
    """What L1 is: all that its state depends on. `built` is a QEMU from source, if it runs under
    one."""

    image: LabImage
    accel: Accelerator
    built: Path | None = None

    @property
    def qemu_is_built(self) -> bool:
        return self.built is not None and self.built.exists()

    @property
    def memory_mib(self) -> int:
        return max(4096, CPU_MIB * self.accel.cpus)

    @property
    def cpus(self) -> tuple[int, ...]:
        """Those of L1 that are for guests, their QEMU and the port under test; none: any."""
        return for_guests(self.accel.cpus)

    @property
    def other_cpus(self) -> tuple[int, ...]:
        """Those for the link partner and everything else; none: any."""
        return tuple(range(self.cpus[0])) if self.cpus else ()

    @property
    def toolchain(self) -> Toolchain:
        """What the controller runs of the image's programs."""
        return Toolchain(self.image.root, self.built) if self.built else self.image.toolchain

    @property
    def svm_fault(self) -> str:
        """What has become of QEMU's, for the record of a run."""
        if self.built:
            return "mended in the source"
        return "mended" if self.toolchain.fixed_qemu else "there"

    @property
    def append(self) -> str:
        """L1's kernel command line; of the CPUs as `nicproof persist` has it for a real host."""
        if not self.cpus:
            return APPEND
        others = ranges(self.other_cpus)
        kept_free = f"isolcpus=managed_irq,{ranges(self.cpus)} irqaffinity={self.other_cpus[0]}"
        return f"{APPEND} {kept_free} {OTHER_CPUS}={others}"

    def argv(self) -> tuple[str, ...]:
        """QEMU's command line but for the sockets and logs of one run.

        Two igb ports, cabled by a hub, each behind a root port of its own: 0000:01:00.0 is the
        device under test, 0000:02:00.0 its link partner. The split irqchip and `intremap` are
        what vfio needs to trust interrupts; `caching-mode` is what the kernel asks of an emulated
        IOMMU. The management network reaches nothing outside (restrict=on).
        """
        image = self.image
        disk = f"file={escaped(image.disk)},if=none,format=raw,readonly=on,id=d0"
        return (
            *self.toolchain.qemu,
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-name", "nicproof-lab", "-M", "q35,hpet=off,kernel-irqchip=split", *self.accel.argv),
            *("-m", str(self.memory_mib), "-smp", str(self.accel.cpus)),
            *("-device", "intel-iommu,intremap=on,caching-mode=on"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", self.append),
            *("-drive", disk, "-device", "virtio-blk-pci,drive=d0"),
            *("-netdev", f"user,id=mgmt,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:0-{ADDRESS}:22"),
            *("-device", "virtio-net-pci,netdev=mgmt,mac=52:54:00:00:00:01,romfile="),
            *("-netdev", "hubport,id=h0,hubid=0", "-netdev", "hubport,id=h1,hubid=0"),
            *("-device", "pcie-root-port,id=rp1,slot=1,chassis=1"),
            *("-device", "pcie-root-port,id=rp2,slot=2,chassis=2"),
            *("-device", "igb,netdev=h0,mac=52:54:00:00:01:01,bus=rp1"),
            *("-device", "igb,netdev=h1,mac=52:54:00:00:01:02,bus=rp2"),
        )


def run_argv(machine: LabMachine, qmp: Path, serial: Path, *, incoming: bool) -> tuple[str, ...]:
    """The whole command line of one run. QEMU is killed by the kernel when its parent dies."""
    return (
        *("setpriv", "--pdeathsig", "KILL", *machine.argv()),
        *control_argv(qmp, serial),
        *(("-incoming", "defer") if incoming else ()),
    )


class Vm:
    """A running L1."""

    def __init__(self, process: LocalProcess, qmp: Qmp, serial: Path) -> None:
        self.process, self.qmp, self.serial = process, qmp, serial

    @property
    def pid(self) -> int:
        """Of QEMU, on the controller."""
        return self.process.pid

    def ssh_port(self) -> int:
        """The port of 127.0.0.1 that leads to L1's sshd."""
        arguments: dict[str, Any] = {"command-line": "info usernet"}
        text = self.qmp.command("human-monitor-command", **arguments)
        return forwarded_port(str(text))

    def diagnose(self) -> str:
        """What is known about a VM that does not answer."""
        return describe_end(self.process, self.serial)

    def check(self) -> None:
        """Raise HostUnreachable if QEMU has ended."""
        if self.process.poll() is not None:
            raise HostUnreachable(f"the lab VM: {self.diagnose()}")


def forwarded_port(text: str) -> int:
    """The forwarded port in the output of `info usernet`."""
    found = FORWARDED.search(text)
    if found is None:
        raise LabError(f"QEMU forwards no port to the lab: {text.strip()!r}")
    return int(found[1])


@contextmanager
def running(
    machine: LabMachine, directory: Path, serial: Path, *, incoming: bool = False
) -> Iterator[Vm]:
    """QEMU for `machine`; it ends with the context. `directory` gets the QMP socket."""
    socket = directory / "qmp"
    argv = run_argv(machine, socket, serial, incoming=incoming)
    with ExitStack() as stack:
        process = stack.enter_context(LocalHost().spawn(argv))
        yield Vm(process, connect(process, socket, serial, stack), serial)
