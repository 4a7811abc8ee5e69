"""The rig of a qualification: the port under test, its link partner, and what stands on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec

from harness.core.errors import CommandFailed, MissingCapability
from harness.core.units import Clock, Fidelity
from harness.guest.boot import Guest, boot
from harness.hosts.base import CommandResult, Host
from harness.inventory import LinkPlan, PortPair
from harness.journal.journal import Journal, UndoWrite
from harness.paths.partner import Partner
from harness.pci.device import Device
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import GuestConfig
from harness.qualify.rig.node import Node


class VfSettings(msgspec.Struct, frozen=True):
    """What the PF's driver says of one of its VFs, an entry of `vfinfo_list` in `ip -j link`.

    A driver that does not know a setting leaves it out: None.
    """

    vf: int
    address: str
    spoofchk: bool | None = None
    trust: bool | None = None
    link_state: str | None = None
    vlan_list: tuple[dict[str, int | str], ...] = ()
    rate: dict[str, int] = msgspec.field(default_factory=dict)


class _Link(msgspec.Struct, frozen=True):
    vfinfo_list: tuple[VfSettings, ...] = ()


@dataclass(frozen=True)
class Port:
    """The PF under test on its host, in the host's own namespace, bound to its driver."""

    host: Host
    bdf: str
    journal: Journal

    @property
    def device(self) -> Device:
        return Device(self.host, self.bdf)

    @cached_property
    def interface(self) -> str:
        """Asked once: nobody renames it while the rig stands."""
        return self.device.interface

    @property
    def numvfs(self) -> int:
        return int(self.device.attribute("sriov_numvfs"))

    def set_numvfs(self, count: int) -> None:
        """Write sriov_numvfs; LabError if the kernel refuses. Only within `free_of_vfs`."""
        self.host.write(f"{self.device.sysfs}/sriov_numvfs", str(count).encode())

    def vf_bdfs(self) -> tuple[str, ...]:
        """BDFs of the VFs that there are, by their index, as the virtfn links have them."""
        return tuple(self.device.virtual_function(index) for index in range(self.numvfs))

    def vf_settings(self) -> tuple[VfSettings, ...]:
        """What the PF's driver says of its VFs, by their index."""
        text = self.host.run(("ip", "-j", "-d", "link", "show", "dev", self.interface)).text
        (link,) = msgspec.json.decode(text, type=tuple[_Link, ...])
        return link.vfinfo_list

    def set_vf(self, index: int, *setting: str) -> None:
        """`ip link set PF vf INDEX SETTING...`.

        MissingCapability if the driver has no such setting, CommandFailed if it refuses this one.
        """
        argv = ("ip", "link", "set", self.interface, "vf", str(index), *setting)
        supported(self.host, argv, f"VF setting {setting[0]}")

    @contextmanager
    def free_of_vfs(self, *, autoprobe: bool = False) -> Iterator[None]:
        """While it lasts VFs may be made and removed; afterwards there are none, as before.

        With `autoprobe` each VF that is made is bound to its driver on the host at once.
        MissingCapability if none may be made, or bound.
        """
        self.journal.permit("sriov")
        if autoprobe:
            self.journal.permit("bind")
        sysfs = self.device.sysfs
        prior = self.device.attribute("sriov_drivers_autoprobe")
        undo = (
            UndoWrite(f"{sysfs}/sriov_numvfs", "0"),
            UndoWrite(f"{sysfs}/sriov_drivers_autoprobe", prior),
        )
        with self.journal.change(f"made and removed VFs of {self.bdf}", undo):
            self.host.write(f"{sysfs}/sriov_drivers_autoprobe", b"1" if autoprobe else b"0")
            yield


@dataclass(frozen=True)
class Rig:
    """All that a case needs. It stands for a session; what a case changes it puts back."""

    host: Host
    ports: PortPair
    port: Port
    link: LinkPlan
    partner: Partner
    journal: Journal
    fidelity: Fidelity
    clock: Clock
    guest: GuestConfig
    logs: Path

    @property
    def emulated(self) -> bool:
        """Whether the NIC under test is QEMU's model of one."""
        return self.fidelity != "hardware"

    @property
    def wire(self) -> Node:
        """The link partner as a node: what is seen there has crossed the cable."""
        partner = self.partner
        return Node(self.host, partner.netns, partner.interface, partner.mac, partner.ip, WIRE_IP6)

    @contextmanager
    def booted(
        self,
        name: str,
        attachments: Sequence[NicAttachment],
        *,
        extra_args: tuple[str, ...] = (),
        vcpus: int = 1,
        memory_mib: int | None = None,
    ) -> Iterator[Guest]:
        """A guest with these NICs, once its agent answers. It ends with the context."""
        config = replace(
            self.guest,
            name=name,
            vcpus=vcpus,
            memory_mib=memory_mib or self.guest.memory_mib,
            extra_args=(*self.guest.extra_args, *extra_args),
        )
        with boot(
            self.host,
            config,
            attachments,
            log_dir=self.logs,
            deadline_s=BOOT_LIMIT,
            journal=self.journal,
        ) as guest:
            yield guest


BOOT_LIMIT = 240.0
"""Seconds that a guest may take to its agent: 5 in an idle lab, many times that in a busy one."""

WIRE_IP6 = "2001:2::1"
"""The partner's address in RFC 5180's benchmarking range, 2001:2::/48."""


def supported(host: Host, argv: tuple[str, ...], capability: str) -> CommandResult:
    """The result of a command that a driver may not know; MissingCapability if it does not.

    EOPNOTSUPP is what the kernel answers where a driver has no such operation; ethtool has words
    of its own for features that a driver changes only together with others, or never.
    """
    try:
        return host.run(argv)
    except CommandFailed as error:
        output = (error.stderr + error.stdout).lower()
        if any(
            each in output for each in ("not supported", "could not change any device features")
        ):
            output = (error.stderr or error.stdout).strip().splitlines()[-1]
            raise MissingCapability(capability, f"{' '.join(argv)}: {output}") from error
        raise
