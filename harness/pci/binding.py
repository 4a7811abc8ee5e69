"""Which driver a PCI function is bound to, changed through driver_override or through new_id.

driver_override is about one function. new_id is about all of one ID: on the way the driver takes
every other function of that ID that has no driver, so those must be ours, and are let go at once;
and the ID is taken back as soon as the function is bound. Of which the inventory decides (`bind`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.deadline import Deadline
from harness.core.errors import LabError, MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal, Undo, UndoCommand, UndoWrite
from harness.journal.modules import load
from harness.net import udev
from harness.net.netdev import link
from harness.pci.device import ROOT, Device, of_ids

PROBE = "/sys/bus/pci/drivers_probe"


@contextmanager
def bound(host: Host, bdf: str, driver: str, journal: Journal) -> Iterator[None]:
    """`bdf` bound to `driver`; afterwards to what it was bound to before, override included.

    Raises MissingCapability if the host has no such driver, none may be bound, or new_id would
    take what is not ours, and LabError if it does not bind.
    """
    journal.permit("bind")
    device = Device(host, bdf)
    prior = device.driver
    load(host, driver, driver_directory(driver), journal)
    by_override = journal.binding.by == "driver_override"
    undo: list[Undo] = [UndoWrite(f"{device.sysfs}/driver/unbind", bdf)]
    undo += _override_back(device, prior) if by_override else _driver_back(device, prior)
    with journal.change(f"bound {bdf} to {driver}", undo):
        if prior:
            host.write(f"{device.sysfs}/driver/unbind", bdf.encode())
        if by_override:
            host.write(f"{device.sysfs}/driver_override", _override_text(driver).encode())
            host.write(PROBE, bdf.encode())
        else:
            with _probed(device, journal):
                if not _takes(host, driver, bdf):
                    _take_by_id(device, driver, journal)
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
    undo = (UndoWrite(PROBE, bdf), *_interface_back(device))
    with journal.change(f"unbound {bdf} from {device.driver}", undo):
        host.write(f"{device.sysfs}/driver/unbind", bdf.encode())
        yield


def driver_directory(driver: str) -> str:
    """What shows that a PCI driver is there."""
    return f"/sys/bus/pci/drivers/{driver}"


def wait_for_interface(host: Host, bdf: str, *, seconds: float = 10.0) -> str:
    """The network interface of a function whose driver was just bound, by the name that it keeps:
    udev may give it another one than the kernel did."""
    device = Device(host, bdf)
    Deadline(seconds, f"a network interface of {bdf} on {host.name}").poll(lambda: device.interface)
    udev.settle(host)
    return device.interface


TAKE = 'printf %s "$1" >"$2/bind"'

FORGET = '[ ! -e "$2/remove_id" ] || printf %s "$1" >"$2/remove_id" 2>/dev/null || :'
"""Take an ID back from the driver in $2. That it has none of that kind (ENODEV, remove_id_store in
drivers/pci/pci-driver.c) is no error: it may never have been given."""

LET_GO = '[ ! -e "$2/$1" ] || printf %s "$1" >"$2/unbind"'
"""Unbind function $1 from the driver in $2, if that has it."""


@contextmanager
def _probed(device: Device, journal: Journal) -> Iterator[None]:
    """Drivers are asked about the function; of VFs of a PF without sriov_drivers_autoprobe they are
    not, unless by an override (pci_device_can_probe in drivers/pci/pci-driver.c)."""
    path = f"{ROOT}/{device.pf}/sriov_drivers_autoprobe"
    if not device.pf or device.host.read(path).strip() != b"0":
        yield
        return
    with journal.change(f"let drivers have VFs of {device.pf}", (UndoWrite(path, "0"),)):
        device.host.write(path, b"1")
        yield


def _takes(host: Host, driver: str, bdf: str) -> bool:
    """Let the driver take a function whose ID it knows; False if it does not know it.

    Tried first, so that an ID that somebody else gave it is neither given nor taken back by us.
    """
    argv = ("sh", "-c", TAKE, "sh", bdf, driver_directory(driver))
    return host.run(argv, check=False).returncode == 0


def _take_by_id(device: Device, driver: str, journal: Journal) -> None:
    """Let the driver take a function whose ID it does not know: it is told the ID for a moment."""
    ids, place = " ".join(device.ids), driver_directory(driver)
    others = _driverless(device, journal)
    undo = (
        UndoCommand(("sh", "-c", FORGET, "sh", ids, place)),
        *(UndoCommand(("sh", "-c", LET_GO, "sh", other, place)) for other in others),
    )
    with journal.change(f"told {driver} of the ID {ids}", undo):
        device.host.write(f"{place}/new_id", ids.encode())


def _driverless(device: Device, journal: Journal) -> tuple[str, ...]:
    """Other functions with the device's IDs and without a driver: new_id binds those, too.

    MissingCapability if one of them is neither a port of the inventory nor a VF of such a port, or
    of the device's own PF.
    """
    pf = device.pf
    ours = journal.binding.ports | ({pf} if pf else set())
    found = []
    for other in of_ids(device.host, (device.ids,)):
        if other.bdf == device.bdf or other.driver:
            continue
        if other.bdf not in ours and other.pf not in ours:
            raise MissingCapability(
                "binding by new_id",
                f"it would bind {other.bdf}, too, which has the same ID, no driver, and no line "
                "in the inventory",
                remedy='bind = "driver_override" in the inventory, or a driver for that one',
            )
        found.append(other.bdf)
    return tuple(found)


BACK = (
    udev.SETTLE
    + """
udev_settled
for _ in $(seq 50); do
    for now in $(ls "$1/net"); do
        if [ "$now" != "$2" ]; then
            message=$(ip link set dev "$now" down 2>&1 && ip link set dev "$now" name "$2" 2>&1) ||
                continue
        fi
        [ "$3" = down ] || message=$(ip link set dev "$2" up 2>&1) || continue
        exit 0
    done
    sleep 0.1
done
echo "${message:-there is no interface}" >&2
exit 1
"""
)
"""A driver that binds again makes a new interface: $2 is the name it had, $3 whether it was up.

udev may be giving it that name, or another one, so the name may have changed since it was looked
at: then it is looked at again. Some drivers make it later, and before Linux 6.2 an interface that
is up cannot be renamed (dev_change_name)."""


def _override_back(device: Device, prior: str) -> Iterator[Undo]:
    """The override as it is now, and the driver by it."""
    override = device.attribute("driver_override")
    yield UndoWrite(f"{device.sysfs}/driver_override", _override_text(override))
    if prior:
        yield UndoWrite(PROBE, device.bdf)
        yield from _interface_back(device)


def _driver_back(device: Device, prior: str) -> Iterator[Undo]:
    """The driver by its name: another one may know the ID as well."""
    if prior:
        yield UndoWrite(f"{driver_directory(prior)}/bind", device.bdf)
        yield from _interface_back(device)


def _interface_back(device: Device) -> tuple[Undo, ...]:
    """The interface's name and state, as they are now."""
    interface = device.interface
    if not interface:
        return ()
    state = "up" if "UP" in link(device.host, interface).flags else "down"
    script = ("sh", "-c", BACK, "sh", device.sysfs, interface, state)
    return (UndoCommand(script, when=device.sysfs),)


def _override_text(driver: str) -> str:
    """What to write for `driver`: a lone newline clears; "(null)" is how sysfs shows none."""
    return "\n" if driver in ("", "(null)") else driver
