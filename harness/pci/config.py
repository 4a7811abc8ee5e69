"""A function's configuration space, raw bytes to frozen types. Pure.

PCI Express Base Specification 6.0, chapter 7.5.1 (header) and 7.6.3 (extended capabilities), with
offsets as in Linux' include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from harness.core.errors import ConfigError
from harness.pci.capability import STANDARD, Capability, Other, Registers, bits
from harness.pci.extended import EXTENDED

HEADER, CONVENTIONAL, WHOLE = 64, 256, 4096
"""Bytes that anybody may read, that a PCI function has, and that a PCI Express one has."""

ETHERNET = 0x0200
"""Class and subclass of an Ethernet controller (PCI Code and ID Assignment Specification)."""

NOBODY = "ffff"
"""The vendor and device ID that every VF's own configuration space has (chapter 9.3.4.1)."""

TITLES = {
    (False, 0x03): "Vital Product Data",
    (False, 0x09): "Vendor Specific",
    (True, 0x0002): "Virtual Channel",
    (True, 0x0004): "Power Budgeting",
    (True, 0x000B): "Vendor Specific",
    (True, 0x0017): "TPH Requester",
    (True, 0x0018): "Latency Tolerance Reporting",
    (True, 0x0019): "Secondary PCI Express",
    (True, 0x001F): "Precision Time Measurement",
}
"""Names of capabilities that NICs have and that are not decoded, by (extended, ID)."""

C = TypeVar("C", bound=Capability)


@dataclass(frozen=True)
class Identity:
    """The header's identifying fields: IDs as lspci -n prints them, four hexadecimal digits.

    A VF shows vendor and device as ffff: its real ones are the PF's vendor and the VF Device ID
    in the PF's SR-IOV capability.
    """

    vendor: str
    device: str
    subsystem_vendor: str
    subsystem_device: str
    revision: int
    class_code: int  # class, subclass and programming interface, 24 bits

    @property
    def ids(self) -> tuple[str, str]:
        return self.vendor, self.device

    @property
    def is_vf(self) -> bool:
        return self.ids == (NOBODY, NOBODY)

    @property
    def is_ethernet(self) -> bool:
        return self.class_code >> 8 == ETHERNET


@dataclass(frozen=True)
class ConfigSpace:
    """What one function says of itself in `size` bytes: 64, 256 or 4096.

    `faults` are the places where a list of capabilities could not be followed further.
    """

    size: int
    identity: Identity
    capabilities: tuple[Capability, ...]
    faults: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes) -> ConfigSpace:
        """ConfigError if `data` has another size or is no endpoint's or bridge's space."""
        if len(data) not in (HEADER, CONVENTIONAL, WHOLE):
            raise ConfigError(
                f"configuration space has 64, 256 or 4096 bytes, this has {len(data)}",
                remedy="read all of it as root: lspci -xxxx, or sysfs' config",
            )
        if not data.strip(b"\xff"):
            raise ConfigError(
                "configuration space reads ff throughout: the device does not answer",
                remedy="is it powered down (D3cold), in reset, or unplugged?",
            )
        registers = Registers(data)
        layout = data[0x0E] & 0x7F
        if registers.u16(0) == 0 or layout not in (0, 1):
            raise ConfigError(
                f"no configuration space of an endpoint or a bridge: vendor ID "
                f"{registers.u16(0):04x}, header type {layout}"
            )
        standard, faults = _standard(registers)
        extended, more = _extended(registers)
        return cls(
            size=len(data),
            identity=_identity(registers, has_subsystem=layout == 0),
            capabilities=(*standard, *extended),
            faults=(*faults, *more),
        )

    def find(self, kind: type[C]) -> C | None:
        """The first capability of a kind; None if there is none, or none was to be seen."""
        return next((each for each in self.capabilities if isinstance(each, kind)), None)

    def shows(self, kind: type[Capability]) -> bool:
        """Were enough bytes read to tell whether the function has such a capability?"""
        return self.size >= (WHOLE if kind.EXTENDED else CONVENTIONAL)


def is_ethernet(data: bytes) -> bool:
    """Does this configuration space, whole or not, belong to an Ethernet controller?"""
    return Registers(data).u16(0x0A) == ETHERNET


def _identity(registers: Registers, *, has_subsystem: bool) -> Identity:
    """A bridge has other registers where an endpoint names its subsystem."""
    subsystem = (0x2C, 0x2E) if has_subsystem else ()
    vendor, device, *rest = (f"{registers.u16(at):04x}" for at in (0x00, 0x02, *subsystem))
    subsystem_vendor, subsystem_device = rest or ("", "")
    revision = registers.u32(0x08)
    return Identity(
        vendor, device, subsystem_vendor, subsystem_device, revision & 0xFF, revision >> 8
    )


def _standard(registers: Registers) -> tuple[list[Capability], list[str]]:
    """The list that the pointer at 0x34 starts, if the status register says that there is one."""
    found: list[Capability] = []
    at = registers.data[0x34] & ~3 if bits(registers.u16(0x06), 4) else 0
    seen: set[int] = set()
    while at:
        if at < HEADER or at in seen:
            return found, [_broken("capability", at, at in seen)]
        if at >= len(registers.data):
            return found, []  # not readable, which is no fault of the device
        seen.add(at)
        found.append(_decode(registers, at, registers.data[at], extended=False))
        at = registers.data[at + 1] & ~3
    return found, []


def _extended(registers: Registers) -> tuple[list[Capability], list[str]]:
    """The list that starts at byte 256; a header of zeros or ones there means that it is empty."""
    found: list[Capability] = []
    if len(registers.data) < WHOLE:
        return found, []
    at, seen = CONVENTIONAL, set[int]()
    while at:
        if at < CONVENTIONAL or at in seen:
            return found, [_broken("extended capability", at, at in seen)]
        seen.add(at)
        header = registers.u32(at)
        if header == 0xFFFF_FFFF or (header == 0 and not found):
            return found, []
        identifier = bits(header, 0, 16)
        if identifier:  # 0 is a place holder
            found.append(_decode(registers, at, identifier, extended=True))
        at = bits(header, 20, 12) & ~3
    return found, []


def _broken(what: str, at: int, seen: bool) -> str:
    return f"the list of {what} pointers {'is a loop' if seen else 'leaves its area'}: {at:#04x}"


def _decode(registers: Registers, at: int, identifier: int, *, extended: bool) -> Capability:
    """One capability; as `Other` if it is none of ours or does not fit where it stands."""
    kind = (EXTENDED if extended else STANDARD).get(identifier)
    end = min(len(registers.data), WHOLE if extended else CONVENTIONAL)
    if kind is not None and at + kind.SIZE <= end:
        return kind.decode(at, Registers(registers.data[at : at + kind.SIZE]))
    title = kind.TITLE if kind else TITLES.get((extended, identifier), "")
    title = title or f"capability {identifier:0{4 if extended else 2}x}"
    return Other(at, identifier, extended, f"{title} (cut off)" if kind else title)
