"""Which driver a PCI function is bound to, changed through driver_override.

`new_id` would claim every device of that ID, the wrong tool on a host with two ports of one model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.deadline import Deadline
from harness.errors import LabError
from harness.host.base import Host
from harness.journal import Journal, Run, Undo, Write
from harness.kmod import load
from harness.netdev import link
from harness.pci.device import Device

PROBE = "/sys/bus/pci/drivers_probe"


@contextmanager
def bound(host: Host, bdf: str, driver: str, journal: Journal) -> Iterator[None]:
    """`bdf` bound to `driver`; afterwards to what it was bound to before, override included.

    Raises MissingCapability if the host has no such driver, or none may be bound, and LabError if
    it does not bind.
    """
    journal.permit("bind")
    device = Device(host, bdf)
    prior, override = device.driver, device.attribute("driver_override")
    load(host, driver, driver_directory(driver), journal)
    undo: list[Undo] = [
        Write(f"{device.sysfs}/driver/unbind", bdf),
        Write(f"{device.sysfs}/driver_override", _override_text(override)),
    ]
    if prior:
        undo.append(Write(PROBE, bdf))
        undo.extend(_interface_back(device))
    with journal.change(f"bound {bdf} to {driver}", undo):
        if prior:
            host.write(f"{device.sysfs}/driver/unbind", bdf.encode())
        host.write(f"{device.sysfs}/driver_override", _override_text(driver).encode())
        host.write(PROBE, bdf.encode())
        now = device.driver
        if now != driver:
            raise LabError(
                f"{host.name}: {bdf} should be bound to {driver} and is bound to {now or 'none'}",
                remedy=f"see dmesg on {host.name}",
            )
        yield


@contextmanager
def unbound(host: Host, bdf: str, journal: Journal) -> Iterator[None]:
    """`bdf` without the driver that it is bound to; afterwards with it, its interface as before.

    MissingCapability if drivers must be left as they are.
    """
    journal.permit("bind")
    device = Device(host, bdf)
    undo = (Write(PROBE, bdf), *_interface_back(device))
    with journal.change(f"unbound {bdf} from {device.driver}", undo):
        host.write(f"{device.sysfs}/driver/unbind", bdf.encode())
        yield


def driver_directory(driver: str) -> str:
    """What shows that a PCI driver is there."""
    return f"/sys/bus/pci/drivers/{driver}"


def wait_for_interface(host: Host, bdf: str, *, seconds: float = 10.0) -> str:
    """The network interface of a function whose driver was just bound."""
    device = Device(host, bdf)
    return Deadline(seconds, f"a network interface of {bdf} on {host.name}").poll(
        lambda: device.interface
    )


BACK = """
for net in "$1"/net/*; do
    now=${net##*/}
    [ "$now" = "$2" ] || ip link set "$now" name "$2" || exit 1
    [ "$3" = down ] || ip link set "$2" up || exit 1
done
"""
"""A driver that binds again makes a new interface: $2 is the name it had, $3 whether it was up."""


def _interface_back(device: Device) -> tuple[Undo, ...]:
    """The interface's name and state, as they are now."""
    interface = device.interface
    if not interface:
        return ()
    state = "up" if "UP" in link(device.host, interface).flags else "down"
    script = ("sh", "-c", BACK, "sh", device.sysfs, interface, state)
    return (Run(script, when=f"{device.sysfs}/net"),)


def _override_text(driver: str) -> str:
    """What to write for `driver`: a lone newline clears; "(null)" is how sysfs shows none."""
    return "\n" if driver in ("", "(null)") else driver
