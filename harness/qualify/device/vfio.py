"""How QEMU holds a function that is passed through: by which of vfio's two doors to the IOMMU."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.pci.device import Device


@dataclass(frozen=True)
class Backend:
    """A way for QEMU to reach the IOMMU; `door` is the file that it opens to go there."""

    name: str
    door: str
    properties: str = ""  # of vfio-pci
    objects: tuple[str, ...] = ()  # QEMU's further arguments
    needs: tuple[str, ...] = ()  # capabilities beside those that every VF in a guest needs


LEGACY = Backend("legacy-container", "/dev/vfio/vfio")
IOMMUFD = Backend(
    "iommufd",
    "/dev/iommu",
    properties="iommufd=iommufd0",
    objects=("-object", "iommufd,id=iommufd0"),
    needs=("iommufd",),
)
"""Documentation/driver-api/vfio.rst in Linux, docs/devel/vfio-iommufd.rst in QEMU."""

BACKENDS = {each.name: each for each in (LEGACY, IOMMUFD)}


def require_device_file(host: Host, bdf: str) -> None:
    """MissingCapability unless vfio-pci, which is bound to it, gives this function a file of its
    own, as iommufd needs it (CONFIG_VFIO_DEVICE_CDEV)."""
    if not host.glob(f"{Device(host, bdf).sysfs}/vfio-dev/vfio*/dev"):
        raise MissingCapability("iommufd", f"{host.name}'s vfio has no device file for {bdf}")


def held(host: Host, pid: int) -> tuple[str, ...]:
    """The files of vfio and of the IOMMU that a process holds open."""
    links = host.glob(f"/proc/{pid}/fd/*")
    # Some are closed meanwhile, so readlink's status says nothing.
    found = host.run(("readlink", *links), check=False).text.split("\n")
    ours = {path for path in found if path.startswith("/dev/vfio/") or path == "/dev/iommu"}
    return tuple(sorted(ours))
