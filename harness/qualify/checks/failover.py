"""A VF with a virtio NIC as its standby, so that its guest can be migrated.

To the guest both are one interface, net_failover's, which prefers the VF; QEMU takes the VF out
before it migrates and plugs one in again at the other end. (Documentation/networking/
net_failover.rst in Linux, docs/system/virtio-net-failover.rst in QEMU.)
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from harness.core.deadline import Deadline
from harness.core.errors import DeadlineExpired
from harness.hosts.base import Host
from harness.qemu.attachment import NicAttachment
from harness.qualify.rig.vf import Vf

STANDBY, PRIMARY = "standby", "primary"
"""Ids of the two devices in QEMU."""


def failover_pair(vf: Vf, tap: str, mac: str, driver: str) -> NicAttachment:
    """The VF, bound to vfio-pci, and a virtio NIC at the macvtap `tap`, both with address `mac`.

    A failover primary has to be a PCIe device in a slot that can be hot-plugged.
    """
    return NicAttachment(
        path="failover",
        mac=mac,
        driver=driver,
        device_args=(
            *("-device", "pcie-root-port,id=slot1,chassis=1,slot=1"),
            *("-netdev", "tap,id=net0,fd=3"),
            "-device",
            f"virtio-net-pci,netdev=net0,id={STANDBY},mac={mac},failover=on,romfile=",
            "-device",
            f"vfio-pci,host={vf.bdf},id={PRIMARY},bus=slot1,rombar=0,failover_pair_id={STANDBY}",
        ),
        fds=(tap,),
    )


@dataclass(frozen=True)
class Bundle:
    """The pair as the guest sees it: the interface to use, and what is below it now."""

    guest: Host
    interface: str

    def lower(self) -> dict[str, str]:
        """Driver -> interface, of those that the failover interface consists of now."""
        links = self.guest.glob(f"/sys/class/net/{self.interface}/lower_*")
        names = [posixpath.basename(link).removeprefix("lower_") for link in links]
        return {self._driver(name): name for name in names}

    def _driver(self, interface: str) -> str:
        """The driver's name, "" if the interface has gone meanwhile."""
        link = f"/sys/class/net/{interface}/device/driver"
        return posixpath.basename(self.guest.run(("readlink", link), check=False).text.strip())

    def settled(self, *drivers: str, seconds: float = 30.0) -> dict[str, str]:
        """As `lower`, once it consists of interfaces with just these drivers, all of them with a
        carrier (without one the other is made use of: net_failover_xmit_ready in
        drivers/net/net_failover.c), or in the end."""

        def there() -> dict[str, str] | None:
            found = self.lower()
            if set(found) != set(drivers):
                return None
            return found if all(map(self.carrier, found.values())) else None

        try:
            return Deadline(seconds, self.interface).poll(there, interval=0.2)
        except DeadlineExpired:
            return self.lower()

    def carrier(self, lower: str) -> bool:
        """Whether one of its interfaces has a carrier; one that is down tells of none."""
        path = f"/sys/class/net/{lower}/carrier"
        return self.guest.run(("cat", path), check=False).text.strip() == "1"

    def sent(self, lower: str) -> int:
        """Frames that one of its interfaces has sent."""
        path = f"/sys/class/net/{lower}/statistics/tx_packets"
        return int(self.guest.run(("cat", path)).text)


def bundle(guest: Host, *, seconds: float = 15.0) -> Bundle:
    """The guest's failover interface, as soon as there is one."""
    what = f"a failover interface in {guest.name}"
    pattern = "/sys/class/net/*/lower_*"
    (link, *_) = Deadline(seconds, what).poll(lambda: guest.glob(pattern), interval=0.2)
    return Bundle(guest, posixpath.basename(posixpath.dirname(link)))
