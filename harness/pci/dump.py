"""What `lspci -x`, `-xxx` or `-xxxx` printed: one device or many, with -v text or without. Pure.

As `lspci -F` does, it passes over what it does not know: a paste has lines that a terminal has
wrapped, fences, prompts, what tools said on stderr. Only bytes must be where they say they are.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.pci.address import Address

_DEVICE = re.compile(
    r"(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7](?= )", re.IGNORECASE | re.ASCII
)
_ROW = re.compile(r"([0-9a-f]{2,3}):((?: [0-9a-f]{2}){1,16})\s*", re.IGNORECASE | re.ASCII)
_IDS = re.compile(r"\b([0-9a-f]{4}):([0-9a-f]{4})\b")

COMPLETE = (64, 128, 256, 4096)
"""Bytes of a whole dump: -x (128 for a CardBus bridge), -xxx, -xxxx."""


@dataclass(frozen=True)
class Dumped:
    """One device of a dump. `line` is where it begins, from 1."""

    address: Address
    description: str
    data: bytes
    line: int

    @property
    def ids(self) -> tuple[str, str] | None:
        """Vendor and device ID as `lspci -n` or `-nn` prints them: a VF's real ones too."""
        found = _IDS.search(self.description)
        return (found[1], found[2]) if found else None


def parse_dump(text: str) -> tuple[Dumped, ...]:
    """Every device of the dump; ConfigError, with the line's number where it breaks, if it is none.

    One that was cut off has what was whole of it: 64, 128 or 256 bytes.
    """
    devices: list[Dumped] = []
    data = bytearray()
    for number, line in enumerate(textwrap.dedent(text.lstrip("\ufeff")).splitlines(), 1):
        if device := _DEVICE.match(line):
            _close(devices, data)
            description = line[device.end() :].strip()
            devices.append(Dumped(Address.parse(device[0]), description, b"", number))
        elif row := _ROW.fullmatch(line):
            _append(devices, data, int(row[1], 16), bytes.fromhex(row[2]), number)
    _close(devices, data)
    if not devices:
        raise ConfigError("there is no device in it", remedy=REMEDY)
    return tuple(devices)


REMEDY = "give it what `lspci -xxxx` printed when run as root, unchanged"


def _append(devices: list[Dumped], data: bytearray, offset: int, row: bytes, number: int) -> None:
    """Rows follow one another without a gap; only then is a byte where it says it is."""
    if not devices:
        raise ConfigError(f"line {number} has bytes, but of no device", remedy=REMEDY)
    if offset != len(data) or len(row) != 16:
        raise ConfigError(
            f"line {number} has {len(row)} bytes for offset {offset:02x}; 16 bytes for offset "
            f"{len(data):02x} should follow",
            remedy=REMEDY,
        )
    data += row


def _close(devices: list[Dumped], data: bytearray) -> None:
    """Give the last device the bytes that were gathered for it."""
    if not devices:
        return
    last = devices[-1]
    whole = max((size for size in COMPLETE if size <= len(data)), default=0)
    if not whole:
        raise ConfigError(
            f"line {last.line}: {last.address} has {len(data)} bytes; lspci prints 64, 256 or 4096",
            remedy=REMEDY,
        )
    devices[-1] = Dumped(last.address, last.description, bytes(data[:whole]), last.line)
    data.clear()
