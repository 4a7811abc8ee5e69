"""Which shared libraries an ELF program needs: read from its bytes, without running anything.

Asking the loader (`--list`) would do for most programs, but it crashes on static ones.
Format: System V ABI, chapters 4 and 5; numbers from elf.h. 64-bit little-endian only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x7fELF\x02\x01"  # then 64-bit, little-endian
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


@dataclass(frozen=True)
class Needs:
    """What must be there for a program to start: its loader's path and its libraries' names."""

    interpreter: str = ""
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def is_elf(data: bytes) -> bool:
    return data[: len(MAGIC)] == MAGIC


def needs(data: bytes) -> Needs:
    """What the ELF file `data` needs itself, without what its libraries need in turn.

    Empty for static programs. ValueError if `data` is no 64-bit little-endian ELF, or cut short.
    """
    if not is_elf(data):
        raise ValueError("not a 64-bit little-endian ELF file")
    try:
        segments = tuple(_segments(data))
        interpreter = next((_text(data, s.offset) for s in segments if s.kind == PT_INTERP), "")
        dynamic = next((s for s in segments if s.kind == PT_DYNAMIC), None)
        return Needs(interpreter, _libraries(data, segments, dynamic) if dynamic else ())
    except struct.error as error:
        raise ValueError(f"truncated ELF file: {error}") from error


def _segments(data: bytes) -> Iterator[_Segment]:
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for index in range(count):
        kind, _, offset, address, _, filesize = struct.unpack_from(
            "<IIQQQQ", data, table + index * size
        )
        yield _Segment(kind, offset, address, filesize)


def _libraries(data: bytes, segments: tuple[_Segment, ...], dynamic: _Segment) -> tuple[str, ...]:
    wanted: list[int] = []
    strings = 0
    for position in range(dynamic.offset, dynamic.offset + dynamic.size, 16):
        tag, value = struct.unpack_from("<QQ", data, position)
        if tag == DT_NULL:
            break
        if tag == DT_NEEDED:
            wanted.append(value)
        elif tag == DT_STRTAB:
            strings = _offset(segments, value)
    return tuple(_text(data, strings + at) for at in wanted)


def _offset(segments: tuple[_Segment, ...], address: int) -> int:
    """Where in the file the byte lies that is loaded at `address`."""
    for segment in segments:
        if segment.kind == PT_LOAD and 0 <= address - segment.address < segment.size:
            return segment.offset + address - segment.address
    raise ValueError(f"no segment of the ELF file is loaded at {address:#x}")


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    if end < 0:
        raise ValueError("truncated ELF file: a name does not end")
    return data[offset:end].decode()
