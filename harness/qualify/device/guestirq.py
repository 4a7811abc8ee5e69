"""Have a NIC in a Linux guest go without MSI-X, so that its driver turns to MSI or INTx.

No driver is told so by an option, and neither vfio nor Linux can hide MSI-X alone. What works with
any driver that falls back: MSI and MSI-X are forbidden to one device by its msi_bus attribute
(Documentation/ABI/testing/sysfs-bus-pci); and MSI-X alone cannot be had of a device whose MSI-X
table has no address (msix_map_region in drivers/pci/msi/msi.c). A base address register that is
cleared stays so where the kernel finds it on a new bus and has been told not to give out addresses
by itself (pci=nobar; pcibios_fixup_device_resources in arch/x86/pci/common.c). The device must
therefore be below a port of its own, which can be taken out and found again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.pci.binding import PROBE
from harness.pci.capability import Msix
from harness.pci.config import ConfigSpace
from harness.pci.device import ROOT, Device
from harness.qemu.config import DeployedImage

ROOT_PORT = ("-device", "pcie-root-port,id=port0,chassis=1,slot=1")
"""QEMU's arguments for a port that a device can be put below by bus=port0."""

FIRST_BAR = 0x10
"""Offset of the base address registers in configuration space."""

RESCAN = """
port=$(basename "$(dirname "$(readlink -f "$1")")")
dd if=/dev/zero of="$1/config" bs=4 seek="$2" count="$3" conv=notrunc 2>/dev/null &&
echo 1 >"/sys/bus/pci/devices/$port/remove" &&
echo 1 >/sys/bus/pci/rescan
"""


def with_nobar(image: DeployedImage) -> DeployedImage:
    """The same guest, whose kernel gives no addresses to what the firmware has left out."""
    return replace(image, append=f"{image.append} pci=nobar")


def rebind(guest: Host, bdf: str, driver: str, *, between: Callable[[Host, str], None]) -> None:
    """Take the device from its driver, do something to it, and give it back."""
    guest.write(f"/sys/bus/pci/drivers/{driver}/unbind", bdf.encode())
    between(guest, bdf)
    if Device(guest, bdf).driver != driver:  # one that was found anew is bound already
        guest.write(PROBE, bdf.encode())


def only_intx(guest: Host, bdf: str) -> None:
    """Forbid MSI and MSI-X to the device. It must be unbound."""
    guest.write(f"{ROOT}/{bdf}/msi_bus", b"0")


def unassign_msix(guest: Host, bdf: str) -> None:
    """Take its address from the BAR that holds the MSI-X table, and find the device anew."""
    device = f"{ROOT}/{bdf}"
    config = guest.read(f"{device}/config")
    msix = ConfigSpace.parse(config).find(Msix)
    if msix is None:
        raise MissingCapability("MSI-X", f"{bdf} has none to do without")
    at = FIRST_BAR + 4 * msix.table_bar
    wide = config[at] & 0b110 == 0b100  # a 64-bit address takes two registers
    guest.run(("sh", "-c", RESCAN, "sh", device, str(at // 4), "2" if wide else "1"))
