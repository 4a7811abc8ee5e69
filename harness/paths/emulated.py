"""Emulated NICs: every register access of the guest's driver is an exit to QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.core.facts import PathFacts
from harness.hosts.base import Host
from harness.inventory import PortPair
from harness.journal.journal import Journal
from harness.journal.modules import load
from harness.net.netdev import MACVTAP, macvtap
from harness.paths.base import PathOptions
from harness.paths.parts import UnmetRequirement, guest_mac, port_up, unmet_kvm, unmet_module
from harness.qemu.attachment import NicAttachment

TAP = "npmacvtap0"

VHOST = ("vhost-net", "/dev/vhost-net")
"""The module, and what shows that it is there."""


@dataclass(frozen=True)
class Tapped:
    """A NIC that QEMU provides, whose frames go to the PF by a macvtap."""

    name: str
    summary: str
    model: str  # QEMU's -device
    driver: str  # the guest's
    facts: PathFacts
    other_driver: str = ""  # that the guest may need, too
    vhost: bool = False
    usual: bool = False
    has_guest: bool = True
    varies: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("KVM", "kernel module macvtap")
    changes: tuple[str, ...] = (f"PF set up; macvtap {TAP} upon it (both undone)",)

    @property
    def guest_drivers(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.driver, self.other_driver)))

    def missing(self, host: Host, ports: PortPair) -> UnmetRequirement | None:
        if unmet := unmet_kvm(host) or unmet_module(host, ports, *MACVTAP):
            return unmet
        return unmet_module(host, ports, *VHOST) if self.vhost else None

    @contextmanager
    def provision(
        self, host: Host, ports: PortPair, journal: Journal, options: PathOptions
    ) -> Iterator[NicAttachment]:
        mac = guest_mac(self.name)
        if self.is_vhost(options):
            load(host, *VHOST, journal)
        with (
            port_up(host, ports, journal) as port,
            macvtap(host, port, TAP, mac, journal) as tap,
        ):
            yield NicAttachment(
                path=self.name,
                mac=mac,
                driver=self.driver,
                device_args=self.device_args(mac, options),
                fds=(tap.device,) * self.queues(options),  # a queue each time it is opened
                host_interface=port,
                tap=tap.interface,
                host_carries=True,
            )

    def is_vhost(self, options: PathOptions) -> bool:
        """Whether the host's kernel serves the NIC; QEMU does otherwise."""
        asked = self.vhost if options.vhost is None else options.vhost
        return asked and self.driver == "virtio_net"

    def queues(self, options: PathOptions) -> int:
        """Pairs of queues; only virtio-net has more than one."""
        return options.queues if self.driver == "virtio_net" else 1

    def device_args(self, mac: str, options: PathOptions) -> tuple[str, ...]:
        """QEMU's arguments; descriptor 3 is the first that it inherits."""
        queues = self.queues(options)
        fds = ":".join(str(3 + number) for number in range(queues))
        netdev = f"tap,id=net0,{'fds' if queues > 1 else 'fd'}={fds}"
        device = f"{self.model},netdev=net0,mac={mac},romfile="
        if self.driver == "virtio_net":
            if self.is_vhost(options):
                netdev += ",vhost=on"
            if queues > 1:  # a vector for each queue, one for the configuration, one to control
                device += f",mq=on,vectors={2 * queues + 2}"
            device += f",{options.virtio}" if options.virtio else ""
        return ("-netdev", netdev, "-device", device)


def _emulated(colour: str) -> PathFacts:
    return PathFacts(kind="emulated", colour=colour)


EMULATED = (
    Tapped("e1000", "emulated Intel 82540EM", "e1000", "e1000", _emulated("#8e4704")),
    Tapped("e1000e", "emulated Intel 82574L", "e1000e", "e1000e", _emulated("#d55e00"), usual=True),
    Tapped(
        "rtl8139",
        "emulated Realtek 8139C+",
        "rtl8139",
        "8139cp",
        _emulated("#6e974b"),
        other_driver="8139too",  # the chip's revision decides which of the two takes it
    ),
    Tapped("vmxnet3", "emulated VMware vmxnet3", "vmxnet3", "vmxnet3", _emulated("#742862")),
)
