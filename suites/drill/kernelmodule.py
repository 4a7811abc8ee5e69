"""A kernel module with something wrong in it: an x86-64 .ko file, changed in its bytes.

What is written into it is machine code, so the kernel that loads the result runs a driver that is
broken for real. Format: System V ABI, chapter 4, and its x86-64 supplement; numbers from elf.h.
Pure functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from harness.guest.image.elf import is_elf

SYMTAB, RELA = 2, 4  # SHT_*
POINTER = 1  # R_X86_64_64

SIGNATURE = b"~Module signature appended~\n"
"""MODULE_SIG_STRING in include/linux/module_signature.h; before it is struct module_signature."""

_SIGNATURE_HEAD = struct.Struct(">8xI")

ENTRY = bytes.fromhex("f30f1efa e8")
"""How a function begins in a kernel with IBT and ftrace: endbr64, call __fentry__."""

PROLOGUE = 9  # bytes, with the call's address

RETURN = struct.Struct("<BiB")
"""mov $value, %eax; ret"""

MOV_EAX, RET = 0xB8, 0xC3


class _Section(NamedTuple):
    kind: int
    offset: int
    size: int
    link: int
    info: int


class _Symbol(NamedTuple):
    name: str
    section: int
    value: int


class _Relocation(NamedTuple):
    at: int  # its own place in the file
    section: int  # that it is about
    offset: int
    kind: int
    target: tuple[int, int]  # section and place in it


def unsigned(module: bytes) -> bytes:
    """Without its signature: one that does not fit is refused, none is merely told of."""
    if not module.endswith(SIGNATURE):
        return module
    end = len(module) - len(SIGNATURE) - _SIGNATURE_HEAD.size
    (size,) = _SIGNATURE_HEAD.unpack_from(module, end)
    return module[: end - size]


def returning(module: bytes, function: str, value: int) -> bytes:
    """A function does nothing but return `value`.

    ValueError if there is no such function, or not one that begins and goes on as expected.
    """
    sections, symbols = _parse(module)
    found = _function(symbols, function)
    start, first = sections[found.section].offset + found.value, found.value + PROLOGUE
    body = range(first, first + RETURN.size)
    if module[start : start + len(ENTRY)] != ENTRY or any(
        each.section == found.section and each.offset in body
        for each in _relocations(module, sections, symbols)
    ):
        raise ValueError(f"{function} does not begin as functions of a kernel with IBT do")
    changed = bytearray(module)
    RETURN.pack_into(changed, start + PROLOGUE, MOV_EAX, value, RET)
    return unsigned(bytes(changed))


def without_pointers(module: bytes, function: str) -> bytes:
    """Every pointer to a function in the module's data is NULL: it is as if its author had not
    written the function. ValueError if there is no such function, or no pointer to it."""
    sections, symbols = _parse(module)
    found = _function(symbols, function)
    changed, many = bytearray(module), 0
    for each in _relocations(module, sections, symbols):
        if each.kind == POINTER and each.target == (found.section, found.value):
            struct.pack_into("<Q", changed, each.at + 8, 0)  # R_X86_64_NONE
            many += 1
    if not many:
        raise ValueError(f"no pointer to {function}")
    return unsigned(bytes(changed))


def _parse(module: bytes) -> tuple[list[_Section], list[_Symbol]]:
    if not is_elf(module):
        raise ValueError("not a 64-bit little-endian ELF file, or a compressed one")
    (table,) = struct.unpack_from("<Q", module, 40)
    size, count = struct.unpack_from("<HH", module, 58)
    sections = []
    for index in range(count):
        _, kind, _, _, offset, length, link, info = struct.unpack_from(
            "<IIQQQQII", module, table + index * size
        )
        sections.append(_Section(kind, offset, length, link, info))
    return sections, list(_symbols(module, sections))


def _symbols(module: bytes, sections: list[_Section]) -> Iterator[_Symbol]:
    for table in (section for section in sections if section.kind == SYMTAB):
        names = sections[table.link].offset
        for at in range(table.offset, table.offset + table.size, 24):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", module, at)
            end = module.index(b"\0", names + name)
            yield _Symbol(module[names + name : end].decode(), section, value)


def _relocations(
    module: bytes, sections: list[_Section], symbols: list[_Symbol]
) -> Iterator[_Relocation]:
    for table in (section for section in sections if section.kind == RELA):
        for at in range(table.offset, table.offset + table.size, 24):
            offset, info, addend = struct.unpack_from("<QQq", module, at)
            symbol = symbols[info >> 32]
            target = (symbol.section, symbol.value + addend)
            yield _Relocation(at, table.info, offset, info & 0xFFFFFFFF, target)


def _function(symbols: list[_Symbol], name: str) -> _Symbol:
    for symbol in symbols:
        if symbol.name == name and symbol.section:
            return symbol
    raise ValueError(f"the module has no function {name}")
