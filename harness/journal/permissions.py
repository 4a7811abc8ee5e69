"""What may be changed on a host, and how drivers are bound there: frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Permission = Literal["bind", "sriov", "tune", "modules"]
"""What may be changed on a host: drivers bound to its ports; the number of VFs; governor, IRQ
affinity and the like for the length of a run; modules loaded."""

BindMode = Literal["driver_override", "new_id"]
"""How a driver is told to take a function: by the function's own attribute (Linux 3.16 and later),
or by its vendor and device ID (Documentation/ABI/testing/sysfs-bus-pci)."""

Holder = Literal["pci-stub", "vfio-pci"]
"""The driver that keeps still what shares an IOMMU group with a function that is given away."""

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

EVERYTHING = frozenset(PERMISSIONS)


@dataclass(frozen=True)
class Binding:
    """How functions of a host are bound to other drivers.

    `ports` are those that the inventory lists, by BDF; of an IOMMU group no other is touched.
    """

    by: BindMode = "driver_override"
    hold: Holder = "pci-stub"
    ports: frozenset[str] = frozenset()


DEFAULT_BINDING = Binding()


def denied(host: str, permission: Permission) -> tuple[str, str]:
    """What a host lacks on which this must not be done, and why."""
    return (
        f"permission {permission}",
        f'the inventory does not have "{permission}" in `may` of {host}',
    )
