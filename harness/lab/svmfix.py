"""One store too many in QEMU's emulation of SVM, taken out of the lab's own copy of QEMU.

`helper_vmrun()` (target/i386/tcg/system/svm_helper.c, 10.0.13 to 11.1.3 at least) delivers an
injected interrupt at once, but also leaves its vector in `cs->exception_index`. If the execution
loop is next left for another reason than a VMEXIT, the same vector is delivered a second time,
whatever IF says: the guest re-enters an interrupt handler that holds a lock, and hangs. It is
rare without icount, and a run of some hundred trials meets it.

The statement compiles to one instruction; a NOP of the same length is the fix
`cs->exception_index = -1` as far as a running guest can tell, since -1 is what it holds then.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

_INJECTED = re.compile(
    rb"\x41\x0f\xb6\xf4"  # movzx esi, r12b: the vector
    rb"\x44\x89\xab...."  # mov [rbx + disp32], r13d: env->error_code
    rb"(\x89\xb3(....))"  # mov [rbx + disp32], esi: cs->exception_index
    rb"\xc7\x83",  # mov dword [rbx + disp32], imm32: env->exception_is_int
    re.DOTALL,
)

NOP6 = bytes.fromhex("660f1f440000")
"""nopw 0(rax,rax,1), Intel SDM vol. 2, "NOP", recommended 6-byte form."""


def without_second_delivery(binary: bytes) -> bytes | None:
    """QEMU's binary with the store taken out; None if it is not surely the one that is known.

    Sure is: the sequence stands there once, and what it writes to lies before `env` (rbx), as
    CPUState does in ArchCPU.
    """
    found = list(_INJECTED.finditer(binary))
    if len(found) != 1:
        return None
    (displacement,) = struct.unpack("<i", found[0][2])
    if displacement >= 0:
        return None
    start, end = found[0].span(1)
    return binary[:start] + NOP6 + binary[end:]


def make_fixed_copy(source: Path, copy: Path) -> bool:
    """Write a fixed copy of the QEMU at `source`; False, and no copy, if it is not known."""
    fixed = without_second_delivery(source.read_bytes())
    if fixed is None:
        return False
    copy.write_bytes(fixed)
    copy.chmod(0o755)
    return True
