"""A PCI function as sysfs shows it (Documentation/ABI/testing/sysfs-bus-pci)."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from dataclasses import dataclass

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.pci.profiles import Profile, profile_for

ROOT = "/sys/bus/pci/devices"


@dataclass(frozen=True)
class Device:
    """One function on one host. Every property asks the host anew: sysfs is the truth."""

    host: Host
    bdf: str

    @property
    def sysfs(self) -> str:
        return f"{ROOT}/{self.bdf}"

    def exists(self) -> bool:
        return self.host.exists(self.sysfs)

    def attribute(self, name: str) -> str:
        """A sysfs attribute, stripped; LabError if the device has none of that name."""
        try:
            return self.host.read(f"{self.sysfs}/{name}").decode().strip()
        except FileNotFoundError as error:
            raise LabError(f"{self.host.name}: {self.bdf} has no {name}") from error

    def attributes(self, *names: str) -> tuple[str, ...]:
        """Several one-line attributes by one command; LabError if one is not there."""
        paths = tuple(f"{self.sysfs}/{name}" for name in names)
        result = self.host.run(("head", "-q", "-n", "1", *paths), check=False)
        if result.returncode != 0:
            raise LabError(f"{self.host.name}: {self.bdf}: {result.error.strip()}")
        return tuple(line.strip() for line in result.text.splitlines())

    def _link(self, name: str) -> str:
        """Last part of a symbolic link's target, "" if there is no such link."""
        result = self.host.run(("readlink", f"{self.sysfs}/{name}"), check=False)
        return posixpath.basename(result.text.strip())

    @property
    def ids(self) -> tuple[str, str]:
        """Vendor and device ID as four lower-case hexadecimal digits each."""
        vendor, device = self.attributes("vendor", "device")
        return vendor.removeprefix("0x"), device.removeprefix("0x")

    @property
    def profile(self) -> Profile:
        """What is known of its model."""
        return profile_for(*self.ids)

    @property
    def model(self) -> str:
        """The field's name, or vendor:device where nicproof knows none."""
        ids = self.ids
        return profile_for(*ids).name(*ids)

    @property
    def driver(self) -> str:
        """The bound driver's name, "" if none is."""
        return self._link("driver")

    @property
    def pf(self) -> str:
        """BDF of the PF that a VF belongs to, "" if this is no VF."""
        return self._link("physfn")

    @property
    def iommu_group(self) -> str:
        """The IOMMU group's number, "" if the device is in none."""
        return self._link("iommu_group")

    @property
    def interface(self) -> str:
        """The network interface's name in the reader's namespace, "" if there is none."""
        found = self.host.glob(f"{self.sysfs}/net/*")
        return posixpath.basename(found[0]) if found else ""

    def virtual_function(self, index: int) -> str:
        """BDF of VF `index`, read from the virtfn link; LabError if it is not there."""
        bdf = self._link(f"virtfn{index}")
        if not bdf:
            raise LabError(f"{self.host.name}: {self.bdf} has no VF {index}")
        return bdf


def of_ids(host: Host, ids: Collection[tuple[str, str]]) -> tuple[Device, ...]:
    """All functions of these IDs, each a vendor's and a device's. They are found by the device's
    first, since a host may have hundreds of functions."""
    words = [word for _, device in ids for word in ("-e", f"0x{device}")]
    there = host.glob(f"{ROOT}/*/device")
    same = host.run(("grep", "-lx", *words, *there), check=False).text.splitlines()
    found = (Device(host, posixpath.basename(posixpath.dirname(path))) for path in same)
    return tuple(device for device in found if device.ids in ids)
