"""Extended capabilities, those from byte 256 of configuration space on. Pure.

Layouts: PCI Express Base Specification 6.0, chapters 7.6 to 7.9 and, for SR-IOV, 9.3.3; offsets and
masks as in Linux' include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.pci.address import Address
from harness.pci.capability import Capability, Registers, bits, names

UNCORRECTABLE = {
    4: "data link protocol",
    5: "surprise down",
    12: "poisoned TLP",
    13: "flow control protocol",
    14: "completion timeout",
    15: "completer abort",
    16: "unexpected completion",
    17: "receiver overflow",
    18: "malformed TLP",
    19: "ECRC",
    20: "unsupported request",
    21: "ACS violation",
    22: "uncorrectable internal",
    23: "multicast blocked TLP",
    24: "AtomicOp egress blocked",
    25: "TLP prefix blocked",
    26: "poisoned TLP egress blocked",
    27: "DMWr egress blocked",
    28: "IDE check",
    29: "misrouted IDE TLP",
    30: "PCRC check",
    31: "TLP translation egress blocked",
}
"""Uncorrectable Error Status Register."""

CORRECTABLE = {
    0: "receiver",
    6: "bad TLP",
    7: "bad DLLP",
    8: "replay number rollover",
    12: "replay timer timeout",
    13: "advisory non-fatal",
    14: "corrected internal",
    15: "header log overflow",
}
"""Correctable Error Status Register."""


@dataclass(frozen=True)
class ErrorReporting(Capability):
    """Advanced Error Reporting: errors seen and not cleared since, and those that are masked."""

    uncorrectable: tuple[str, ...]
    uncorrectable_masked: tuple[str, ...]
    correctable: tuple[str, ...]
    correctable_masked: tuple[str, ...]

    ID, SIZE, TITLE, EXTENDED = 0x0001, 0x18, "AER", True

    @classmethod
    def decode(cls, at: int, registers: Registers) -> ErrorReporting:
        return cls(
            at,
            names(registers.u32(0x04), UNCORRECTABLE),
            names(registers.u32(0x08), UNCORRECTABLE),
            names(registers.u32(0x10), CORRECTABLE),
            names(registers.u32(0x14), CORRECTABLE),
        )


@dataclass(frozen=True)
class SerialNumber(Capability):
    """Device Serial Number, an EUI-64 written as lspci writes it."""

    serial: str

    ID, SIZE, TITLE, EXTENDED = 0x0003, 12, "Device Serial Number", True

    @classmethod
    def decode(cls, at: int, registers: Registers) -> SerialNumber:
        return cls(at, registers.data[11:3:-1].hex("-"))


ACS_CONTROLS = {
    0: "source validation",
    1: "translation blocking",
    2: "P2P request redirect",
    3: "P2P completion redirect",
    4: "upstream forwarding",
    5: "P2P egress control",
    6: "direct translated P2P",
}
"""ACS Capability and ACS Control Registers."""


@dataclass(frozen=True)
class AccessControl(Capability):
    """Access Control Services: whether functions can be kept apart, hence in IOMMU groups."""

    supported: tuple[str, ...]
    enabled: tuple[str, ...]

    ID, SIZE, TITLE, EXTENDED = 0x000D, 8, "ACS", True

    @classmethod
    def decode(cls, at: int, registers: Registers) -> AccessControl:
        can, control = bits(registers.u16(4), 0, 7), bits(registers.u16(6), 0, 7)
        return cls(at, names(can, ACS_CONTROLS), names(control, ACS_CONTROLS))


@dataclass(frozen=True)
class AlternativeRouting(Capability):
    """Alternative Routing-ID Interpretation: functions beyond 7."""

    next_function: int

    ID, SIZE, TITLE, EXTENDED = 0x000E, 8, "ARI", True

    @classmethod
    def decode(cls, at: int, registers: Registers) -> AlternativeRouting:
        return cls(at, bits(registers.u16(4), 8, 8))


@dataclass(frozen=True)
class Bar:
    """A base address register; `address` as the system has assigned it, 0 if it has not."""

    index: int
    address: int
    wide: bool  # 64 bits: it takes the next register too
    prefetchable: bool
    ports: bool  # I/O space


def parse_bars(registers: Registers, first: int, count: int) -> tuple[Bar, ...]:
    """The base address registers that are in use, from `count` of them at offset `first`."""
    found, index = [], 0
    while index < count:
        value = registers.u32(first + 4 * index)
        ports = bool(value & 1)
        wide = not ports and bits(value, 1, 2) == 2 and index + 1 < count
        address = value & (~0x3 if ports else ~0xF)
        if wide:
            address |= registers.u32(first + 4 * index + 4) << 32
        if value:
            prefetchable = not ports and bool(value & 8)
            found.append(Bar(index, address, wide, prefetchable, ports))
        index += 2 if wide else 1
    return tuple(found)


@dataclass(frozen=True)
class Sriov(Capability):
    """Single Root I/O Virtualization of a PF. Page sizes are in bytes."""

    total_vfs: int
    initial_vfs: int
    num_vfs: int
    offset: int
    stride: int
    vf_device: str  # four hexadecimal digits; the vendor is the PF's
    vf_bars: tuple[Bar, ...]
    enabled: bool
    memory_enabled: bool  # VF MSE
    ari_hierarchy: bool  # ARI Capable Hierarchy, which moves the VFs of some devices
    supported_page_sizes: tuple[int, ...]
    page_size: int  # 0 if none is chosen

    ID, SIZE, TITLE, EXTENDED = 0x0010, 0x40, "SR-IOV", True

    def addresses(self, pf: Address) -> tuple[Address, ...]:
        """Where the VFs that are enabled lie, if this is the capability of `pf`."""
        vfs = range(self.num_vfs if self.enabled else 0)
        return tuple(pf.vf(index, offset=self.offset, stride=self.stride) for index in vfs)

    @classmethod
    def decode(cls, at: int, registers: Registers) -> Sriov:
        control = registers.u16(0x08)
        sizes = registers.u32(0x1C)
        return cls(
            at,
            total_vfs=registers.u16(0x0E),
            initial_vfs=registers.u16(0x0C),
            num_vfs=registers.u16(0x10),
            offset=registers.u16(0x14),
            stride=registers.u16(0x16),
            vf_device=f"{registers.u16(0x1A):04x}",
            vf_bars=parse_bars(registers, 0x24, 6),
            enabled=bool(bits(control, 0)),
            memory_enabled=bool(bits(control, 3)),
            ari_hierarchy=bool(bits(control, 4)),
            supported_page_sizes=tuple(4096 << bit for bit in range(32) if bits(sizes, bit)),
            page_size=registers.u32(0x20) << 12,
        )


EXTENDED: dict[int, type[Capability]] = {
    kind.ID: kind
    for kind in (ErrorReporting, SerialNumber, AccessControl, AlternativeRouting, Sriov)
}
"""Those that are decoded, by their ID."""
