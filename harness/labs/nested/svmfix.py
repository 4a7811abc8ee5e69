"""Two faults in QEMU's emulation of SVM, taken out of the lab's own copy of QEMU.

`helper_vmrun()` (target/i386/tcg/system/svm_helper.c, 10.0.13 to 11.1.3 at least) delivers an
injected interrupt at once, but also leaves its vector in `cs->exception_index`. If the execution
loop is next left for another reason than a VMEXIT, the same vector is delivered a second time,
whatever IF says: the guest re-enters an interrupt handler that holds a lock, and hangs. It is
rare without icount, and a run of some hundred trials meets it. The statement compiles to one
instruction; a NOP of the same length is the fix `cs->exception_index = -1` as far as a running
guest can tell, since -1 is what it holds then.

`helper_vmrun()` and `do_vmexit()` also set and clear a bit of `cs->interrupt_request` without the
BQL, while other threads, which hold it, change other bits of that word in
`tcg_handle_interrupt()` and `cpu_reset_interrupt()`. What is written between another thread's
reading and its writing is lost: an interrupt of L1's timer, after which that CPU of L1 sleeps until
something else wakes it, or a bit that was cleared, after which the guest gets an interrupt that
nobody asked for. A LOCK prefix makes each of the four one step; the byte that it takes is saved in
the same instruction, or in the next one. With a single thread, as by the virtual clock, it
changes nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NOP2 = bytes.fromhex("6690")
NOP6 = bytes.fromhex("660f1f440000")
"""Intel SDM vol. 2, "NOP", recommended multi-byte forms."""

LOCK = b"\xf0"


@dataclass(frozen=True)
class Mend:
    """Code that has to stand in a binary exactly `times` times, and what goes there, as long."""

    known: re.Pattern[bytes]
    mended: Callable[[re.Match[bytes]], bytes]
    times: int = 1


def _code(pattern: bytes) -> re.Pattern[bytes]:
    """Of machine code, in which a newline is a byte like others."""
    return re.compile(pattern, re.DOTALL)


def _locked_byte(operation: bytes, displacement: bytes, operand: bytes) -> bytes:
    """The same on the second byte of the word alone, in one step."""
    (first,) = struct.unpack("<i", displacement)
    return LOCK + operation + struct.pack("<i", first + 1) + operand + NOP2


MENDS = (
    Mend(  # helper_vmrun: the vector is not kept
        _code(
            rb"(\x41\x0f\xb6\xf4"  # movzx esi, r12b: the vector
            rb"\x44\x89\xab....)"  # mov [rbx + disp32], r13d: env->error_code
            rb"\x89\xb3...\xff"  # mov [rbx - disp32], esi: cs->exception_index, before env (rbx)
            rb"(\xc7\x83)"  # mov dword [rbx + disp32], imm32: env->exception_is_int
        ),
        lambda found: found[1] + NOP6 + found[2],
    ),
    Mend(  # helper_vmrun: or dword [rbx - disp32], CPU_INTERRUPT_VIRQ
        _code(rb"\x81\x8b(...\xff)\x00\x01\x00\x00"),
        lambda found: _locked_byte(b"\x80\x8b", found[1], b"\x01"),
    ),
    Mend(  # do_vmexit: and dword [rbx - disp32], ~CPU_INTERRUPT_VIRQ
        _code(rb"\x81\xa3(...\xff)\xff\xfe\xff\xff"),
        lambda found: _locked_byte(b"\x80\xa3", found[1], b"\xfe"),
    ),
    Mend(  # tcg_handle_interrupt: push and pop are a byte shorter than the mov of a register
        _code(
            rb"(\x84\xc0\x74.)"  # test al, al; je: g_assert(bql_locked())
            rb"(\x09\xab....)"  # or [rbx + disp32], ebp
            rb"\x48\x89\xdf(\xe8)"  # mov rdi, rbx; call
        ),
        lambda found: found[1] + LOCK + found[2] + b"\x53\x5f" + found[3],
    ),
    Mend(  # cpu_reset_interrupt: rax is free there, and popping it shorter than the add
        _code(
            rb"(\x21\x9d....)"  # and [rbp + disp32], ebx
            rb"\x48\x83\xc4\x08(\x5b\x5d)"  # add rsp, 8; pop rbx; pop rbp
        ),
        lambda found: LOCK + found[1] + b"\x58" + NOP2 + found[2],
        times=2,
    ),
)


def mended(binary: bytes) -> bytes | None:
    """QEMU's binary without the faults; None if it is not surely the one that is known: all the
    code that is to be changed stands there as often as it should."""
    for mend in MENDS:
        binary, times = mend.known.subn(mend.mended, binary)
        if times != mend.times:
            return None
    return binary


def make_fixed_copy(source: Path, copy: Path) -> bool:
    """Write a fixed copy of the QEMU at `source`; False, and no copy, if it is not known."""
    fixed = mended(source.read_bytes())
    if fixed is None:
        return False
    copy.write_bytes(fixed)
    copy.chmod(0o755)
    return True
