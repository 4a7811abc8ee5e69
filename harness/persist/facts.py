"""What has to be known of a host before its set-up can be written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.doctor.kernel import iommu_option
from harness.hosts.base import Host
from harness.inventory.fields import cpu_list
from harness.inventory.spec import HostSpec
from harness.labs.real.ports import require
from harness.pci.device import Device, of_ids
from harness.pci.group import STILL, group_to_hold
from harness.pci.sriov import total_vfs


@dataclass(frozen=True)
class PortFacts:
    """A port that is to be set up."""

    bdf: str
    ids: tuple[str, str]  # vendor and device, four hexadecimal digits each
    driver: str  # the PF's own, whatever it is bound to now; "" if that is not known
    vf_driver: str  # likewise
    offered: int  # VFs, by its driver


@dataclass(frozen=True)
class Facts:
    """A host. `twins` are further functions with the ID of one of the ports; `held` share an IOMMU
    group with one and have to be held still if that is handed over."""

    iommu: str  # the kernel option of its driver: INTEL_IOMMU or AMD_IOMMU
    cpus: tuple[int, ...]  # that are online
    ports: tuple[PortFacts, ...]
    twins: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


def facts(
    host: Host, spec: HostSpec, bdfs: Sequence[str], *, change: bool = False, vfio: bool = False
) -> Facts:
    """Ask the host about itself and these ports, which are to `change`, to go to `vfio` or not.

    ConfigError if one that is to change is not as the inventory says, or in use, and
    MissingCapability if it shares its IOMMU group with something that must be left alone.
    """
    if change:
        for bdf in bdfs:
            require(host, spec, bdf)
    beside = [group_to_hold(host, bdf, spec.binding) for bdf in bdfs if vfio]
    ports = tuple(_port(host, bdf) for bdf in bdfs)
    return Facts(
        iommu=iommu_option(host),
        cpus=cpu_list(host.read("/sys/devices/system/cpu/online").decode().strip()),
        ports=ports,
        twins=_twins(host, ports),
        held=tuple(sorted(frozenset().union(*beside).difference(bdfs))),
    )


def _port(host: Host, bdf: str) -> PortFacts:
    device = Device(host, bdf)
    if not device.exists():
        raise ConfigError(
            f"{host.name}: there is no PCI function {bdf}", remedy="lspci -D there shows what is"
        )
    profile = device.profile
    known, of_vf = profile.pf.driver, profile.vf.driver
    return PortFacts(
        bdf,
        device.ids,
        known.value if known else _own(device.driver),
        of_vf.value if of_vf else "",
        total_vfs(host, bdf),
    )


def _own(driver: str) -> str:
    return "" if driver in STILL else driver


def _twins(host: Host, ports: Sequence[PortFacts]) -> tuple[str, ...]:
    listed = {port.bdf for port in ports}
    found = of_ids(host, {port.ids for port in ports})
    return tuple(each.bdf for each in found if each.bdf not in listed)
