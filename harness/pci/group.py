"""A function handed over to a guest or a program, and with it its IOMMU group.

The IOMMU does not tell the members of a group apart, so vfio hands a group over as a whole: it
refuses one in which a driver of the kernel's is still at work (Documentation/driver-api/vfio.rst).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal
from harness.journal.permissions import Binding
from harness.pci.binding import bound
from harness.pci.device import Device
from harness.pci.in_use import refusals

BRIDGES = ("0x0600", "0x0604")
"""Classes of host and PCI bridges: vfio lets those be, whoever has the rest of the group."""

STILL = ("vfio-pci", "pci-stub")
"""Drivers under which a function does nothing by itself, so that vfio accepts its group."""


REMEDY = "another slot, whose root port has ACS; or list it in the inventory, if nobody needs it"


@contextmanager
def assign_to_vfio(host: Host, bdf: str, journal: Journal) -> Iterator[None]:
    """`bdf` bound to vfio-pci, and what else is in its group held still by the driver that the
    inventory says (`hold`); afterwards all are bound as before.

    MissingCapability, before anything is changed, if something in the group must not be touched,
    and for whatever `bound` cannot have.
    """
    journal.permit("bind")
    with ExitStack() as stack:
        for other in group_to_hold(host, bdf, journal.binding):
            stack.enter_context(bound(host, other, journal.binding.hold, journal))
        stack.enter_context(bound(host, bdf, "vfio-pci", journal))
        yield


def others(host: Host, bdf: str) -> tuple[str, ...]:
    """The other functions in the IOMMU group of `bdf`, bridges apart."""
    members = map(posixpath.basename, host.glob(f"{Device(host, bdf).sysfs}/iommu_group/devices/*"))
    return tuple(
        each
        for each in members
        if each != bdf and not Device(host, each).attribute("class").startswith(BRIDGES)
    )


def group_to_hold(host: Host, bdf: str, binding: Binding) -> tuple[str, ...]:
    """Those of the group that have to be held if `bdf` is handed over.

    MissingCapability, with the reason, if one of them must not be touched.
    """
    device, found = Device(host, bdf), []
    for member in others(host, bdf):
        other = Device(host, member)
        siblings = bool(other.pf) and other.pf == device.pf
        if siblings and not other.driver:
            continue  # a VF of the run's own making: no driver will come for it
        own = siblings or other.bdf == device.pf
        known = own or not binding.ports.isdisjoint({other.bdf, other.pf})
        if reason := _against(device, other, known):
            why = (
                f"{other.bdf} shares its IOMMU group, which is handed over as a whole, and {reason}"
            )
            raise MissingCapability(f"isolation of {bdf}", why, remedy=REMEDY)
        if other.driver not in STILL:
            found.append(other.bdf)
    return tuple(found)


def _against(device: Device, other: Device, known: bool) -> str:
    """Why the other one must be left alone, "" if it need not be."""
    if other.bdf == device.pf and other.driver not in STILL:
        return f"is its PF, which {other.driver} must keep"
    if not known:
        return "is no port of the inventory"
    return "; ".join(refusals(other.host, other.bdf))
