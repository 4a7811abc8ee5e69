"""What befalls guests: they reboot, crash, are killed; devices come to them and leave them."""

from __future__ import annotations

from collections.abc import Callable

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.guest.agent import GuestProcess
from harness.guest.boot import Guest
from harness.qualify.rig.rig import BOOT_LIMIT

LOOK = 0.25
"""Seconds between looks at QEMU; they cost the host nothing."""

END, UNPLUG = 60.0, 60.0
"""Seconds that a guest may take to end, and to let go of a device: 2 and 1 in an idle lab, many
times that in a busy one."""


def reboot(guest: Guest) -> None:
    """The guest reboots itself; returns when its agent answers again.

    Guests are started so that QEMU ends instead (-no-reboot); from now on this one resets.
    """
    guest.qmp.command("set-action", reboot="reset")
    _soon(guest, "reboot -f")
    guest.qmp.wait_event(("RESET",), END)
    deadline = Deadline(BOOT_LIMIT, f"the second boot of guest {guest.name}")
    guest.host.agent.await_first(deadline, lambda: _check(guest), LOOK)


def crash(guest: Guest) -> None:
    """The guest's kernel panics, and QEMU ends with it (see harness.guest.image.micro.CONSOLE)."""
    _soon(guest, "echo c >/proc/sysrq-trigger")
    _await_end(guest)


def kill(guest: Guest) -> None:
    """QEMU dies as by a SIGKILL from the kernel's out-of-memory killer."""
    guest.process.host.run(("kill", "-KILL", str(guest.qemu_pid)))
    _await_end(guest)


ENDS: dict[str, Callable[[Guest], None]] = {"reboot": reboot, "crash": crash, "kill -9": kill}


ROOT_PORT = "vacant"


def hotplug_port(slot: int = 9) -> tuple[str, ...]:
    """QEMU's arguments for a root port that is empty at first. `slot` is its chassis' number."""
    return ("-device", f"pcie-root-port,id={ROOT_PORT},chassis={slot},slot={slot}")


def plug(guest: Guest, device_args: tuple[str, ...], name: str) -> None:
    """Add the device of `device_args`, as given to QEMU's command line, to the empty root port."""
    guest.qmp.command("device_add", id=name, bus=ROOT_PORT, **properties(device_args))


def unplug(guest: Guest, name: str) -> None:
    """Ask the guest for the device; returns when it has let go of it."""
    guest.qmp.command("device_del", id=name)
    guest.qmp.wait_event(("DEVICE_DELETED",), UNPLUG)


def properties(device_args: tuple[str, ...]) -> dict[str, object]:
    """("-device", "driver,a=b,c=1") as QMP's device_add has it: numbers are no strings there."""
    option, text = device_args
    assert option == "-device", device_args
    driver, *settings = text.split(",")
    found: dict[str, object] = {"driver": driver}
    for setting in settings:
        name, _, value = setting.partition("=")
        found[name] = int(value) if value.isdigit() else value
    return found


def _soon(guest: Guest, fatal: str) -> None:
    """Have the guest do what ends it, but only after its agent has answered."""
    GuestProcess(guest.host, ("sh", "-c", f"sleep 1; {fatal}"), None)


def _await_end(guest: Guest) -> None:
    deadline = Deadline(END, f"the end of guest {guest.name}'s QEMU")
    deadline.poll(lambda: not guest.qmp.alive, interval=LOOK)


def _check(guest: Guest) -> None:
    if not guest.qmp.alive:
        # Not GuestGone: to come back is what is asked of it.
        raise LabError(f"guest {guest.name} ended instead of rebooting: {guest.diagnosis()}")
