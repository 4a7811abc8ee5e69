"""L1 as one of the Debians of `image`: somebody's ordinary host, two igb ports and all.

It boots once, which takes minutes where nothing but emulation is to be had; then its state is kept,
as that of the lab's own L1 is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.hosts.rundir import short_dir
from harness.labs.nested import snapshot
from harness.labs.nested.choosing import choose
from harness.labs.nested.lab import WARM_UP, NestedLab, log_in, started
from harness.labs.nested.progress import shown
from harness.labs.nested.vm import LabMachine, running
from harness.labs.shape import LabShape
from harness.qemu.qmp import Qmp
from suites.distro.image import Distro, ensure_distro_image

BOOT_LIMIT = 1800.0
"""Seconds to the end of a boot; 60 on an idle core, four times as many on a busy machine."""

WARM_LIMIT = 300.0
"""Seconds to the first login to a kept state: sshd of a Debian asks more of the CPU than L1's."""

SHARES = {"booting the Debian": 100.0, "keeping its state": 3.0}


@contextmanager
def opened(distro: Distro, directory: Path, *, progress: bool = True) -> Iterator[NestedLab]:
    """A Debian whose boot is over; serial logs go to `directory`.

    It has no more of a NestedLab than its machine: nicproof reaches it as any host. Where there is
    only emulation it goes by the virtual clock: by the world's, what systemd does at once at its
    start outlasts the kernel's patience, and udev's, on a machine that has other work, too.
    """
    image = ensure_distro_image(distro, progress=progress)
    machine = choose(image, LabShape(cpus=1), progress=progress)
    kept = snapshot.snapshot_of(machine)
    with shown(SHARES, progress) as steps:

        def make(save: Callable[[Qmp], None]) -> None:
            steps.step("booting the Debian")
            _boot(machine, directory / f"{distro.name}-boot.log", save)

        snapshot.ensure(kept, make, steps.say)
    with started(machine, directory, kept, warm_limit=WARM_LIMIT) as lab:
        yield lab


def _boot(machine: LabMachine, serial: Path, save: Callable[[Qmp], None]) -> None:
    """Boot it, and have its state kept as soon as systemd has started everything and nobody is
    logged in."""
    with short_dir() as sockets, running(machine, sockets, serial.absolute()) as vm:
        with ExitStack() as login:
            host = log_in(machine, vm, vm.ssh_port(), BOOT_LIMIT, login)
            # It says "degraded" if a unit has failed, which is of no concern.
            wait = ("systemctl", "is-system-running", "--wait")
            host.run(wait, timeout=BOOT_LIMIT, check=False)
            host.run(("python3", "-c", WARM_UP))
        save(vm.qmp)
