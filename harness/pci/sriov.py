"""Virtual functions of a PF, made and removed through sriov_numvfs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import InUse, MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal, Undo, UndoCommand, UndoWrite
from harness.pci.device import Device


def total_vfs(host: Host, bdf: str) -> int:
    """TotalVFs as the driver offers them; 0 if the device or its driver has no SR-IOV."""
    try:
        return int(host.read(f"{Device(host, bdf).sysfs}/sriov_totalvfs"))
    except FileNotFoundError:
        return 0


def require_no_vfs(host: Host, bdf: str) -> None:
    """InUse if a PF has VFs already: somebody may be using them, and they go with its driver."""
    path = f"{Device(host, bdf).sysfs}/sriov_numvfs"
    try:
        prior = int(host.read(path))
    except FileNotFoundError:  # a VF, or a PF without SR-IOV
        return
    if prior:
        raise InUse(
            f"{host.name}: {bdf} already has {prior} VFs, which somebody may be using",
            remedy=f"if nobody is: echo 0 > {path}",
        )


@contextmanager
def functions_made(host: Host, bdf: str, count: int, journal: Journal) -> Iterator[tuple[str, ...]]:
    """`count` VFs, unbound; yields their BDFs. Afterwards none.

    Raises InUse if VFs already exist, Refused if the driver makes none, and MissingCapability if
    the device offers too few, or none may be made.
    """
    journal.permit("sriov")
    device = Device(host, bdf)
    offered, autoprobe = device.attributes("sriov_totalvfs", "sriov_drivers_autoprobe")
    if int(offered) < count:
        raise MissingCapability("SR-IOV", f"{bdf} offers {offered} VFs, {count} wanted")
    require_no_vfs(host, bdf)
    undo: list[Undo] = [
        UndoWrite(f"{device.sysfs}/sriov_numvfs", "0"),
        UndoWrite(f"{device.sysfs}/sriov_drivers_autoprobe", autoprobe),
    ]
    with journal.change(f"made {count} VFs of {bdf}", undo):
        host.write(f"{device.sysfs}/sriov_drivers_autoprobe", b"0")
        host.write(f"{device.sysfs}/sriov_numvfs", str(count).encode())
        yield tuple(device.virtual_function(index) for index in range(count))


@contextmanager
def virtual_functions(
    host: Host, bdf: str, macs: tuple[str, ...], journal: Journal
) -> Iterator[tuple[str, ...]]:
    """One VF per address in `macs`, unbound; yields their BDFs. Afterwards none; raises as
    `functions_made` does.

    The addresses are the administrator's: set through the PF before any driver binds a VF, so a
    guest's own random one does not matter.
    """
    with functions_made(host, bdf, len(macs), journal) as vfs:
        interface = Device(host, bdf).interface
        for index, mac in enumerate(macs):
            host.run(("ip", "link", "set", interface, "vf", str(index), "mac", mac))
        yield vfs


@contextmanager
def link_up(host: Host, interface: str, journal: Journal) -> Iterator[None]:
    """`interface` administratively up; afterwards down if it was down before."""
    flags = int(host.read(f"/sys/class/net/{interface}/flags"), 16)
    if flags & 1:  # IFF_UP, include/uapi/linux/if.h
        yield
        return
    down = UndoCommand(("ip", "link", "set", interface, "down"), when=f"/sys/class/net/{interface}")
    with journal.change(f"set {interface} up", (down,)):
        host.run(("ip", "link", "set", interface, "up"))
        yield
