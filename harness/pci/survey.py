"""What one PCI function is found to be, on a running host or in a dump."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.hosts.base import Host
from harness.net.ethtool import Abilities, abilities
from harness.pci.address import Address
from harness.pci.config import ETHERNET, ConfigSpace, is_ethernet
from harness.pci.device import ROOT, Device
from harness.pci.dump import Dumped
from harness.pci.extended import Sriov


@dataclass(frozen=True)
class Running:
    """What the kernel says of a function (Documentation/ABI/testing/sysfs-bus-pci).

    None is not told: by a kernel that has no such attribute, or of a function without one.
    """

    driver: str
    interface: str
    pf: str  # BDF of a VF's PF, "" for a PF
    iommu_group: str
    group_size: int  # functions in that group, this one too
    numa_node: int | None
    total_vfs: int | None  # what the driver leaves of TotalVFs
    vfs: int | None
    resets: tuple[str, ...] | None
    abilities: Abilities | None  # None without an interface


@dataclass(frozen=True)
class Survey:
    """One function. `ids` are its real ones, which a VF's own configuration space does not tell."""

    address: str
    ids: tuple[str, str]
    description: str
    config: ConfigSpace
    running: Running | None = None  # None of a dump


@dataclass(frozen=True)
class Silent:
    """A function that is there and cannot be read, since its link or its power is gone, say."""

    address: str
    why: str  # one line, which names it
    remedy: str

    @classmethod
    def of(cls, address: str, error: ConfigError) -> Silent:
        return cls(address, error.message, error.remedy)


def surveys(host: Host, bdfs: Sequence[str]) -> tuple[Survey | Silent, ...]:
    """Several functions: that one does not answer says nothing of the others."""
    found: list[Survey | Silent] = []
    for bdf in bdfs:
        try:
            found.append(survey(host, bdf))
        except ConfigError as error:
            found.append(Silent.of(bdf, error))
    return tuple(found)


def survey(host: Host, bdf: str) -> Survey:
    """Read a function of `host`; only root is shown more than 64 bytes of configuration space.

    Raises ConfigError if there is no such function or it does not answer.
    """
    address = str(Address.parse(bdf))
    device = Device(host, address)
    if not device.exists():
        raise ConfigError(
            f"{host.name} has no PCI function {address}",
            remedy="nicproof nic show, without an address, lists those that are Ethernet",
        )
    data = host.read(f"{device.sysfs}/config")
    return Survey(address, device.ids, "", _parse(address, data), _running(device))


def ethernet_functions(host: Host) -> tuple[str, ...]:
    """BDFs of the host's Ethernet controllers, PFs and VFs, those that do not answer too."""
    classes = host.glob(f"{ROOT}/*/class")
    found = host.run(("grep", "-l", f"^{ETHERNET:#06x}", "/dev/null", *classes), check=False)
    return tuple(path.split("/")[-2] for path in found.text.splitlines())


def from_dump(devices: tuple[Dumped, ...], bdf: str | None = None) -> tuple[Survey | Silent, ...]:
    """The Ethernet controllers of a dump, or the one device at `bdf`.

    Raises ConfigError if there is none, or if that one does not answer or cannot be read.
    """
    wanted = None if bdf is None else Address.parse(bdf)
    ethernet = [device for device in devices if is_ethernet(device.data) or _was_ethernet(device)]
    chosen = ethernet if wanted is None else [each for each in devices if each.address == wanted]
    if not chosen:
        there = ", ".join(str(device.address) for device in ethernet) or "none"
        raise ConfigError(
            "there is no Ethernet function in it"
            if wanted is None
            else f"there is no {wanted} in it",
            remedy=f"Ethernet functions in it: {there}",
        )
    found: list[Survey | Silent] = []
    for device in chosen:
        try:
            found.append(_of_dump(device, ethernet))
        except ConfigError as error:
            if wanted is not None:
                raise
            found.append(Silent.of(str(device.address), error))
    return tuple(found)


_ETHERNET_BY_NAME = re.compile(r"^(?:Ethernet controller\b|.*\[0200\]|0200:)")


def _was_ethernet(device: Dumped) -> bool:
    """By lspci's words for the class, which the kernel has kept, of one that reads ff now."""
    return not device.data.strip(b"\xff") and bool(_ETHERNET_BY_NAME.match(device.description))


def _of_dump(device: Dumped, ethernet: list[Dumped]) -> Survey:
    config = _parse(str(device.address), device.data)
    ids = device.ids or config.identity.ids
    if device.ids is None and config.identity.is_vf:
        ids = _ids_by_pf(device.address, ethernet) or ids
    return Survey(str(device.address), ids, device.description, config)


def _ids_by_pf(vf: Address, ethernet: list[Dumped]) -> tuple[str, str] | None:
    """A VF's real IDs follow from the PF in the same dump that has a VF at that address."""
    for device in ethernet:
        with suppress(ConfigError):  # a broken neighbour is not what was asked for
            space = ConfigSpace.parse(device.data)
            sriov = space.find(Sriov)
            if sriov and vf in sriov.addresses(device.address):
                return space.identity.vendor, sriov.vf_device
    return None


def _parse(address: str, data: bytes) -> ConfigSpace:
    try:
        return ConfigSpace.parse(data)
    except ConfigError as error:
        raise ConfigError(f"{address}: {error.message}", remedy=error.remedy) from error


def _running(device: Device) -> Running:
    group, interface = device.iommu_group, device.interface
    members = device.host.glob(f"/sys/kernel/iommu_groups/{group}/devices/*") if group else ()
    resets = _optional(device, "reset_method")
    return Running(
        driver=device.driver,
        interface=interface,
        pf=device.pf,
        iommu_group=group,
        group_size=len(members),
        numa_node=_number(_optional(device, "numa_node")),
        total_vfs=_number(_optional(device, "sriov_totalvfs")),
        vfs=_number(_optional(device, "sriov_numvfs")),
        resets=None if resets is None else tuple(resets.split()),
        abilities=abilities(device.host, interface) if interface else None,
    )


def _optional(device: Device, name: str) -> str | None:
    try:
        return device.host.read(f"{device.sysfs}/{name}").decode().strip()
    except FileNotFoundError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text else None
