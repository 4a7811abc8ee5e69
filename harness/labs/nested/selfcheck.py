"""Does this host do what it takes: can a virtual function be made, bound and get a link?

Versions do not tell. QEMU 10.0.0 to 10.0.3, for one, have an igb whose VFs look right and whose
registers are dead.
"""

from __future__ import annotations

import re

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired, LabError
from harness.hosts.base import Host
from harness.pci.device import Device

CARRIER_LIMIT = 20.0
"""Seconds for a VF to find its link; an emulated one takes two."""

BROKEN_QEMU = ((10, 0, 0), (10, 0, 3))
"""First and last version whose igb VFs are dead: "PF still in reset state" (met in 10.0.2, gone in
10.0.13; 9.2 and 11.1 are well)."""

REMEDY = "use another QEMU: `nicproof lab build` makes an image with a current one"


def broken_version(version: str) -> bool:
    """Whether this QEMU ("10.0.2", or "" where it is not known) is known for dead VFs."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return BROKEN_QEMU[0] <= numbers <= BROKEN_QEMU[1]


def check_vf_carrier(host: Host, pf: str, *, driver: str = "igbvf", qemu: str = "") -> None:
    """Make one VF of `pf`, bind it to `driver` on the host itself, expect carrier; leave no trace.

    `qemu` is the version that emulates the NIC, if one does. Raises LabError if the VF is dead,
    naming the version and the remedy if it is known for that. The PF's interface is set up
    while this runs.
    """
    device = Device(host, pf)
    if device.attribute("sriov_numvfs") != "0":
        raise LabError(f"{host.name}: {pf} has VFs already; the check would disturb them")
    interface = device.interface
    was_up = int(host.read(f"/sys/class/net/{interface}/flags"), 16) & 1
    probing = device.attribute("sriov_drivers_autoprobe")
    try:
        host.write(f"{device.sysfs}/sriov_drivers_autoprobe", b"1")
        host.run(("modprobe", driver))
        host.run(("ip", "link", "set", interface, "up"))
        host.write(f"{device.sysfs}/sriov_numvfs", b"1")
        _await_carrier(host, device, driver, qemu)
    finally:
        host.write(f"{device.sysfs}/sriov_numvfs", b"0")
        host.write(f"{device.sysfs}/sriov_drivers_autoprobe", probing.encode())
        if not was_up:
            host.run(("ip", "link", "set", interface, "down"))


def _await_carrier(host: Host, device: Device, driver: str, qemu: str) -> None:
    vf = Device(host, device.virtual_function(0))
    deadline = Deadline(CARRIER_LIMIT, f"carrier on {vf.bdf}, a VF of {device.bdf}")
    try:
        deadline.poll(lambda: vf.driver == driver, interval=0.2)
        host.run(("ip", "link", "set", vf.interface, "up"))
        carrier = f"/sys/class/net/{vf.interface}/carrier"
        deadline.poll(lambda: host.read(carrier).strip() == b"1", interval=0.2)
    except (DeadlineExpired, FileNotFoundError) as error:
        raise LabError(dead(host.name, device.bdf, qemu, str(error)), remedy=REMEDY) from error


def dead(host: str, pf: str, qemu: str, why: str) -> str:
    """The message about a VF that does not work."""
    known = "known for igb VFs that get no carrier" if broken_version(qemu) else "not known for it"
    version = f"; its NIC is emulated by QEMU {qemu}, which is {known}" if qemu else ""
    return f"{host}: a virtual function of {pf} does not work ({why}){version}"
