"""Capabilities in the first 256 bytes of configuration space, each a type of its own. Pure.

Layouts: PCI Express Base Specification 6.0, chapters 7.5.2, 7.5.3 and 7.7; offsets and masks as in
Linux' include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Registers:
    """Little-endian registers, by their offset from the start of a structure."""

    data: bytes

    def u16(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 2], "little")

    def u32(self, offset: int) -> int:
        return int.from_bytes(self.data[offset : offset + 4], "little")


def bits(value: int, low: int, count: int = 1) -> int:
    """`count` bits of `value`, from bit `low` upwards."""
    return value >> low & (1 << count) - 1


def names(value: int, table: dict[int, str]) -> tuple[str, ...]:
    """Names of the bits that are set; one that the table lacks is called by its number."""
    width = value.bit_length()
    return tuple(table.get(bit, f"bit {bit}") for bit in range(width) if value >> bit & 1)


@dataclass(frozen=True)
class Capability:
    """What every capability has: where its structure stands in configuration space."""

    at: int

    ID: ClassVar[int]
    SIZE: ClassVar[int]
    """Bytes of the structure that are decoded."""
    EXTENDED: ClassVar[bool] = False
    TITLE: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """What the field calls it."""
        return self.TITLE

    @classmethod
    def decode(cls, at: int, registers: Registers) -> Capability:
        """From the structure's registers, of which there are at least SIZE bytes."""
        raise NotImplementedError


@dataclass(frozen=True)
class PowerManagement(Capability):
    """PCI Power Management; `soft_reset` is whether D3hot to D0 resets the function."""

    version: int
    state: str
    soft_reset: bool

    ID, SIZE, TITLE = 0x01, 8, "Power Management"

    @classmethod
    def decode(cls, at: int, registers: Registers) -> PowerManagement:
        status = registers.u16(4)
        state = ("D0", "D1", "D2", "D3hot")[bits(status, 0, 2)]
        return cls(at, bits(registers.u16(2), 0, 3), state, not bits(status, 3))


@dataclass(frozen=True)
class Msi(Capability):
    """Message Signalled Interrupts."""

    vectors: int
    enabled: bool
    wide: bool  # 64-bit message addresses
    maskable: bool

    ID, SIZE, TITLE = 0x05, 4, "MSI"

    @classmethod
    def decode(cls, at: int, registers: Registers) -> Msi:
        control = registers.u16(2)
        return cls(
            at,
            vectors=1 << bits(control, 1, 3),
            enabled=bool(bits(control, 0)),
            wide=bool(bits(control, 7)),
            maskable=bool(bits(control, 8)),
        )


@dataclass(frozen=True)
class Msix(Capability):
    """MSI-X: how many vectors, and in which BARs table and pending bits lie."""

    vectors: int
    enabled: bool
    masked: bool
    table_bar: int
    table_offset: int
    pba_bar: int
    pba_offset: int

    ID, SIZE, TITLE = 0x11, 12, "MSI-X"

    @classmethod
    def decode(cls, at: int, registers: Registers) -> Msix:
        control, table, pba = registers.u16(2), registers.u32(4), registers.u32(8)
        return cls(
            at,
            vectors=bits(control, 0, 11) + 1,
            enabled=bool(bits(control, 15)),
            masked=bool(bits(control, 14)),
            table_bar=bits(table, 0, 3),
            table_offset=table & ~7,
            pba_bar=bits(pba, 0, 3),
            pba_offset=pba & ~7,
        )


PORT_TYPES = {
    0x0: "endpoint",
    0x1: "legacy endpoint",
    0x4: "root port",
    0x5: "upstream switch port",
    0x6: "downstream switch port",
    0x7: "PCIe to PCI bridge",
    0x8: "PCI to PCIe bridge",
    0x9: "root complex integrated endpoint",
    0xA: "root complex event collector",
}
"""PCI Express Capabilities Register, Device/Port Type."""

GIGATRANSFERS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
"""Link speed codes (Supported Link Speeds Vector) to GT/s."""


@dataclass(frozen=True)
class Express(Capability):
    """PCI Express: what the function and its link can do, and as what the link was trained.

    Speeds are in GT/s, 0 where the register holds none: a VF's link registers are reserved.
    Payloads and requests are in bytes.
    """

    version: int
    port_type: str
    flr: bool
    extended_tags: bool
    max_payload: int
    payload: int
    max_read_request: int
    link_max_speed: float
    link_max_width: int
    link_speed: float
    link_width: int
    slot_clock: bool
    errors: tuple[str, ...]  # detected and not cleared since, from the Device Status register

    # Up to Link Status; a root complex integrated endpoint has no link and reads 0 there.
    ID, SIZE, TITLE = 0x10, 0x14, "PCI Express"

    @classmethod
    def decode(cls, at: int, registers: Registers) -> Express:
        flags, can, control = registers.u16(2), registers.u32(4), registers.u16(8)
        link, trained = registers.u32(0x0C), registers.u16(0x12)
        return cls(
            at,
            version=bits(flags, 0, 4),
            port_type=PORT_TYPES.get(bits(flags, 4, 4), f"type {bits(flags, 4, 4):#x}"),
            flr=bool(bits(can, 28)),
            extended_tags=bool(bits(can, 5)),
            max_payload=128 << bits(can, 0, 3),
            payload=128 << bits(control, 5, 3),
            max_read_request=128 << bits(control, 12, 3),
            link_max_speed=GIGATRANSFERS.get(bits(link, 0, 4), 0.0),
            link_max_width=bits(link, 4, 6),
            link_speed=GIGATRANSFERS.get(bits(trained, 0, 4), 0.0),
            link_width=bits(trained, 4, 6),
            slot_clock=bool(bits(trained, 12)),
            errors=names(bits(registers.u16(0x0A), 0, 4), DEVICE_ERRORS),
        )


DEVICE_ERRORS = {0: "correctable", 1: "non-fatal", 2: "fatal", 3: "unsupported request"}
"""Device Status Register, bits 0 to 3."""


@dataclass(frozen=True)
class Other(Capability):
    """A capability that is only named here."""

    id: int
    extended: bool
    title: str

    @property
    def name(self) -> str:
        return self.title


STANDARD: dict[int, type[Capability]] = {
    kind.ID: kind for kind in (PowerManagement, Msi, Msix, Express)
}
"""Those that are decoded, by their ID."""
