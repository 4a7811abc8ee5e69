"""The nested lab: a VM (L1) on the controller that has what a lab server has.

It is reached like any other server, over ssh. Its first start boots it, proves that its NIC works
and keeps its state; each further start takes that state up again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import HostUnreachable, LabError
from harness.core.units import Clock, Fidelity
from harness.hosts.base import Host
from harness.hosts.refusal import LoginRefused
from harness.hosts.rundir import short_dir
from harness.hosts.ssh import SshHost, connect
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.labs.base import PartnerPort
from harness.labs.nested import accel, snapshot
from harness.labs.nested.choosing import choose
from harness.labs.nested.image import LabImage, ensure_image
from harness.labs.nested.login import ssh_options
from harness.labs.nested.machine import DESTINATION, NAME
from harness.labs.nested.progress import Steps, shown
from harness.labs.nested.selfcheck import check_vf_carrier
from harness.labs.nested.snapshot import Snapshot, SnapshotFailed, snapshot_of
from harness.labs.nested.vm import LabMachine, Vm, running
from harness.labs.shape import LabShape
from harness.qemu.config import DeployedImage, Hugepages
from harness.qemu.qmp import Qmp
from harness.tuning.run import Tuning, port_tuned

BOOT_LIMIT = 180.0
"""Seconds of a cold start, to the first login; 15 to 20 on two idle cores."""

WARM_LIMIT = 30.0
"""Seconds from a restored state to the first login; 2 on two idle cores."""

ATTEMPT_LIMIT = 10.0
"""Seconds of one attempt to log in, at least; else a tenth of the limit of them all."""

SERIAL = "lab-serial.log"

WARM_UP = "import json, socket, struct, ctypes, glob, subprocess, argparse, selectors, time"
"""Python modules of the harness's agents: their bytecode is made before the state is kept."""

SHARES = {"starting the lab": 20.0, "checking its NIC": 8.0, "keeping its state": 3.0}
"""Steps of the first start with the seconds they take on two cores."""


@dataclass(frozen=True)
class NestedLab:
    """A running nested lab."""

    host: SshHost
    ports: PortPair
    machine: LabMachine
    snapshot: str  # key of the state it was started from; "" after a cold start
    ssh_port: int  # of 127.0.0.1
    vm: Vm
    hugepages: Hugepages | None = None

    @property
    def fidelity(self) -> Fidelity:
        return self.machine.accel.fidelity

    @property
    def clock(self) -> Clock:
        return self.machine.accel.clock

    @property
    def image(self) -> LabImage:
        return self.machine.image

    @property
    def qemu_version(self) -> str:
        return self.image.qemu_version

    @property
    def cpus(self) -> tuple[int, ...]:
        return self.machine.cpus

    @property
    def lab_cpus(self) -> int:
        return self.machine.accel.cpus

    @property
    def exit_cost_ns(self) -> int:
        return self.machine.accel.exit_cost_ns

    @property
    def serial_log(self) -> Path:
        return self.vm.serial

    @property
    def qemu_pid(self) -> int:
        """Of L1's QEMU, on the controller."""
        return self.vm.pid

    @property
    def partner_port(self) -> PartnerPort:
        cpus = self.machine.other_cpus
        return PartnerPort(self.host, self.ports.partner, self.ports.may, cpus)

    @property
    def guest(self) -> DeployedImage:
        """The micro guest, which L1 has on its disk."""
        return self.image.guest

    @property
    def caveat(self) -> str:
        """Of an emulated lab whose QEMU would hang guests by the virtual clock."""
        if self.fidelity != "nested-tcg" or self.machine.toolchain.fixed_qemu:
            return ""
        return accel.unmended(self.qemu_version)

    def tuned(self, journal: Journal) -> AbstractContextManager[Tuning | None]:
        """Little moves there: L1 has no cpufreq and no irqbalance."""
        return port_tuned(self.host, self.ports, self.cpus, journal)

    def describe(self) -> dict[str, str]:
        """For the record of a run."""
        return {
            "kind": "nested",
            "fidelity": self.fidelity,
            "clock": self.clock,
            "CPUs": str(self.lab_cpus),
            "price of an exit": f"{self.exit_cost_ns} ns",
            "qemu": self.qemu_version,
            "image": self.image.directory.name,
            "QEMU's SVM fault": self.machine.svm_fault,
            "image content": self.image.identity,
            "started from": f"snapshot {self.snapshot}" if self.snapshot else "a cold boot",
        }


BY_THE_WALL = LabShape("wall")
"""Of a lab for tests that hold its clock against ours."""


def nested_machine(shape: LabShape = BY_THE_WALL, *, progress: bool = True) -> LabMachine:
    """What this controller runs as L1; builds image and QEMU and probes KVM if that was not done.

    Raises MissingCapability if there is no lab of that shape here.
    """
    return choose(ensure_image(progress=progress), shape, progress=progress)


def prepare(
    shape: LabShape = BY_THE_WALL, *, run_dir: Path, progress: bool = True, again: bool = False
) -> tuple[LabMachine, Snapshot]:
    """Everything that is made once: image, QEMU and snapshot; a build of QEMU that failed is tried
    `again` if so wanted. Logs of the first start go to `run_dir`.

    Raises LabError if the lab's NIC does not work (see selfcheck), and its subclass
    SnapshotFailed if all is well but the state cannot be kept.
    """
    machine = choose(ensure_image(progress=progress), shape, progress=progress, again=again)
    kept = snapshot_of(machine)
    if not kept.exists():
        # Booted as it is kept, i.e. for all: without what is a lab's own.
        plain = replace(machine, accel=machine.accel.state)
        with shown(SHARES, progress) as steps:

            def make(save: Callable[[Qmp], None]) -> None:
                _first_start(plain, run_dir, save, steps)

            snapshot.ensure(kept, make, steps.say)
    return machine, kept


@contextmanager
def open_nested_lab(
    shape: LabShape = BY_THE_WALL, *, run_dir: Path, progress: bool = True
) -> Iterator[NestedLab]:
    """A lab, ready for its first command. Its logs go to `run_dir`; it ends with the context.

    To be called in the main thread: the kernel kills L1 when the thread that started it ends.
    """
    with ExitStack() as stack:
        try:
            machine, kept = prepare(shape, run_dir=run_dir, progress=progress)
            lab = stack.enter_context(started(machine, run_dir, kept))
        except SnapshotFailed as error:
            with shown(SHARES, progress) as steps:
                steps.say(f"the lab boots cold: {error}")
                steps.step("starting the lab")
                machine = nested_machine(shape, progress=False)
                snapshot.discard(snapshot_of(machine))
                lab = stack.enter_context(started(machine, run_dir, None))
        yield lab


@contextmanager
def started(
    machine: LabMachine,
    run_dir: Path,
    kept: Snapshot | None = None,
    *,
    warm_limit: float = WARM_LIMIT,
) -> Iterator[NestedLab]:
    """L1 from its kept state, or booted cold if there is none. `warm_limit` is that of the first
    login to a restored one, in seconds."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    serial = (run_dir / SERIAL).absolute()
    with ExitStack() as stack:
        directory = stack.enter_context(short_dir())
        vm = stack.enter_context(running(machine, directory, serial, incoming=kept is not None))
        port = vm.ssh_port()
        if kept is None:
            host = log_in(machine, vm, port, BOOT_LIMIT, stack)
        else:
            host = _take_up(machine, vm, port, kept, warm_limit, stack)
        set_clock(host)
        yield NestedLab(
            host=host,
            ports=PortPair(),
            machine=machine,
            snapshot=kept.key if kept else "",
            ssh_port=port,
            vm=vm,
        )


def _take_up(
    machine: LabMachine, vm: Vm, port: int, kept: Snapshot, limit: float, stack: ExitStack
) -> SshHost:
    """Let L1 go on from its kept state; one that never answers is as bad as one refused."""
    try:
        snapshot.load(vm.qmp, kept)
        return log_in(machine, vm, port, limit, stack)
    except SnapshotFailed as error:
        raise SnapshotFailed(f"{error}; {vm.diagnose()}") from error
    except LoginRefused:  # as after a cold boot
        raise
    except LabError as error:  # it says by itself what is known of the VM
        raise SnapshotFailed(f"{kept.path}: {error}") from error


def log_in(machine: LabMachine, vm: Vm, port: int, limit: float, stack: ExitStack) -> SshHost:
    """Log in, as often as it takes: sshd may not be up yet. LoginRefused at once if it is, and
    does not know our key: nothing but the image's own files decides on that."""
    options = ssh_options(machine.image.keys, port)
    deadline = Deadline(limit, "the first login to the lab")
    while True:
        vm.check()
        timeout = max(1.0, min(max(ATTEMPT_LIMIT, limit / 10), deadline.left))
        attempt = connect(
            DESTINATION, name=NAME, options=options, timeout=timeout, diagnose=vm.diagnose
        )
        try:
            return stack.enter_context(attempt)
        except LoginRefused as error:
            remedy = f"remove {machine.image.directory}; the next lab makes it anew"
            raise LoginRefused(error.message, remedy=remedy) from error
        except HostUnreachable as error:
            deadline.check(f"{error}; {vm.diagnose()}")
            time.sleep(0.2)


def set_clock(host: Host) -> None:
    """Set the host's clock to ours: a restored machine believes that no time has passed."""
    host.run(("date", "-u", "-s", f"@{time.time():.3f}"))


def _first_start(
    machine: LabMachine, run_dir: Path, save: Callable[[Qmp], None], steps: Steps
) -> None:
    """Boot, check, warm up, and have the state saved while nobody is logged in."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    serial = (run_dir / f"first-{SERIAL}").absolute()
    steps.step("starting the lab")
    with short_dir() as directory, running(machine, directory, serial) as vm:
        with ExitStack() as login:
            host = log_in(machine, vm, vm.ssh_port(), BOOT_LIMIT, login)
            steps.step("checking its NIC")
            version = machine.image.qemu_version
            ports = PortPair()
            check_vf_carrier(host, ports.dut, qemu=version)
            host.run(("python3", "-c", WARM_UP))
            host.run(("qemu-system-x86_64", "--version"))
            _await_links(host)
        steps.step("keeping its state")
        save(vm.qmp)


def _await_links(host: Host) -> None:
    """Both ports have a link again after the check, so that no restored lab has to wait for it."""
    carriers = host.glob("/sys/class/net/eth*/carrier")
    Deadline(20.0, "the link of the lab's ports").poll(
        lambda: all(host.read(path).strip() == b"1" for path in carriers), interval=0.2
    )
