"""DMA of a VF beyond the memory that it was given: what comes of it, and what the kernel says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.qualify.agents import agent
from harness.qualify.rig.frames import Frame, heard_during
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import Vf

MAPPED, OUTSIDE = 0x1000_0000, 0x2BAD_0000
"""IOVAs of the one page that the VF may use, and of one that it may not; both clear of what an
IOMMU reserves (the interrupt range at 0xfee00000)."""

CONTAINER = "/dev/vfio/vfio"

Access = Literal["read", "write"]


@dataclass(frozen=True)
class Fault:
    """One access that the IOMMU stopped, as the kernel logs it."""

    function: str  # that made it, bus:device.function; not every IOMMU's message has the domain
    access: Access
    address: int


_INTEL = re.compile(
    r"DMAR: \[DMA (?P<access>Read|Write)[^\]]*\] Request device \[(?P<bdf>[0-9a-f:.]+)\] "
    r"(?:PASID \S+ )?fault addr (?:0x)?(?P<address>[0-9a-f]+)"
)
_AMD = re.compile(
    r"(?:(?P<before>[0-9a-f:.]+): )?AMD-Vi: Event logged \[IO_PAGE_FAULT (?:device=(?P<bdf>\S+) )?"
    r"domain=\S+ address=0x(?P<address>[0-9a-f]+) flags=0x(?P<flags>[0-9a-f]+)\]"
)
_AMD_WRITE = 0x20  # EVENT_FLAG_RW in drivers/iommu/amd/amd_iommu_types.h


def faults(log: str) -> tuple[Fault, ...]:
    """The faults in a kernel log (drivers/iommu/intel/dmar.c, drivers/iommu/amd/iommu.c)."""
    found: list[Fault] = []
    for line in log.splitlines():
        if intel := _INTEL.search(line):
            access: Access = "read" if intel["access"] == "Read" else "write"
            found.append(Fault(intel["bdf"], access, int(intel["address"], 16)))
        elif amd := _AMD.search(line):
            access = "write" if int(amd["flags"], 16) & _AMD_WRITE else "read"
            bdf = amd["bdf"] or amd["before"]
            found.append(Fault(bdf.partition(":")[2], access, int(amd["address"], 16)))
    return tuple(found)


@dataclass(frozen=True)
class DmaAttempt:
    """What came of frames that a VF was made to send."""

    mac: str  # the VF's, as its PF answered it
    heard: tuple[Frame, ...]  # at the link partner
    faults: tuple[Fault, ...]


def send(rig: Rig, vf: Vf, frames: Sequence[tuple[bytes, Literal["mapped", Access]]]) -> DmaAttempt:
    """Make the VF send frames: each from the page it may use, or with an access outside of it.

    MissingCapability if nicproof does not know the registers of such a VF, or the host's kernel
    has no containers.
    """
    host = rig.host
    device = Device(host, vf.bdf)
    registers = device.profile.vf.registers
    if registers is None:
        raise MissingCapability(
            "DMA by hand", f"the profile of {device.model} does not tell where its registers are"
        )
    with assign_to_vfio(host, vf.bdf, rig.journal):
        if not host.exists(CONTAINER):
            raise MissingCapability("VFIO container", f"{host.name} has no {CONTAINER}")
        spec = {
            "bdf": vf.bdf,
            "group": int(device.iommu_group),
            "mapped": MAPPED,
            "outside": OUTSIDE,
            "registers": msgspec.structs.asdict(registers.value),
            "send": [[data.hex(), how] for data, how in frames],
        }
        argv = (*agent("vfio"), json.dumps(spec))
        last = _kernel_log(host).rstrip().rpartition("\n")[2]
        printed, heard = heard_during(host, argv, (rig.wire.place,))
        log = _kernel_log(host).rpartition(last)[2]
    return DmaAttempt(printed.strip(), heard[rig.wire.place], faults(log))


def _kernel_log(host: Host) -> str:
    return host.run(("dmesg",)).text
