"""What a case may need of the rig, by the name under which a skip tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.core.errors import MissingCapability
from harness.journal.modules import load
from harness.net.ethtool import parse_clock
from harness.paths.parts import unmet_kvm, unmet_sriov, unmet_vfio
from harness.qualify.rig.rig import Rig


def _kvm(rig: Rig) -> str:
    unmet = unmet_kvm(rig.host)
    return unmet[1] if unmet else ""


def _iommu(rig: Rig) -> str:
    unmet = unmet_vfio(rig.host, rig.ports)
    return unmet[1] if unmet else ""


def _sriov(rig: Rig) -> str:
    unmet = unmet_sriov(rig.host, rig.ports)
    return unmet[1] if unmet else ""


def _ptp(rig: Rig) -> str:
    text = rig.host.run(("ethtool", "-T", rig.port.interface), check=False).text
    clock = parse_clock(text)
    if clock is None:
        return f"ethtool -T of {rig.port.interface} does not tell of a PTP clock"
    return "" if clock else f"{rig.port.interface} has no PTP clock"


def _iommufd(rig: Rig) -> str:
    try:
        load(rig.host, "iommufd", "/dev/iommu", rig.journal)
    except MissingCapability as unmet:
        return unmet.message
    return "" if rig.host.exists("/dev/iommu") else f"{rig.host.name} has no /dev/iommu"


CAPABILITIES: dict[str, Callable[[Rig], str]] = {
    "KVM": _kvm,
    "IOMMU": _iommu,
    "SR-IOV": _sriov,
    "PTP": _ptp,
    "iommufd": _iommufd,
}
"""Name -> why the rig lacks it, "" if it has it. A lack that shows only in the middle of a case,
such as a setting that the driver does not know, is raised there as MissingCapability."""


def require(rig: Rig, capabilities: Iterable[str]) -> None:
    """MissingCapability for the first of these names that the rig lacks."""
    for capability in capabilities:
        if unmet := CAPABILITIES[capability](rig):
            raise MissingCapability(capability, unmet)


def lacking(rig: Rig, capabilities: Iterable[str]) -> frozenset[str]:
    """Those of these names that the rig lacks."""
    return frozenset(name for name in capabilities if CAPABILITIES[name](rig))
