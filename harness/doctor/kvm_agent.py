"""Run three instructions in a virtual machine: does KVM work?

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 on x86-64 and
nothing else: `python3 -I -S -c <this text>`. It prints "works" or what went wrong, and never waits.

The interface: Documentation/virt/kvm/api.rst; numbers and layouts: include/uapi/linux/kvm.h and
arch/x86/include/uapi/asm/kvm.h.
"""

import ctypes
import fcntl
import mmap
import os
import struct

GET_API_VERSION, CREATE_VM, GET_VCPU_MMAP_SIZE = 0xAE00, 0xAE01, 0xAE04
CREATE_VCPU, RUN = 0xAE41, 0xAE80
SET_USER_MEMORY_REGION = 0x4020AE46
GET_SREGS, SET_SREGS, SET_REGS = 0x8138AE83, 0x4138AE84, 0x4090AE82
SREGS, REGS = 312, 18
RIP, RFLAGS, RESERVED_FLAG = 16, 17, 2
EXIT_IO, EXIT_HLT = 2, 5
START, SIZE = 0x1000, 0x1000

CODE = bytes.fromhex("b0 42 e6 10 f4")  # mov al, 0x42; out 0x10, al; hlt


def main() -> str:
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    version = fcntl.ioctl(kvm, GET_API_VERSION, 0)
    if version != 12:
        return f"its API is of version {version}, not 12"
    vm = fcntl.ioctl(kvm, CREATE_VM, 0)
    memory = mmap.mmap(-1, SIZE)
    memory.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(vm, SET_USER_MEMORY_REGION, struct.pack("IIQQQ", 0, 0, START, SIZE, address))
    vcpu = fcntl.ioctl(vm, CREATE_VCPU, 0)
    run = mmap.mmap(vcpu, fcntl.ioctl(kvm, GET_VCPU_MMAP_SIZE, 0))
    special = bytearray(SREGS)
    fcntl.ioctl(vcpu, GET_SREGS, special)
    special[:14] = struct.pack("QIH", 0, 0xFFFF, 0)  # the code segment begins at 0
    fcntl.ioctl(vcpu, SET_SREGS, bytes(special))
    general = [0] * REGS
    general[RIP], general[RFLAGS] = START, RESERVED_FLAG
    fcntl.ioctl(vcpu, SET_REGS, struct.pack(f"{REGS}Q", *general))
    for expected in (EXIT_IO, EXIT_HLT):
        fcntl.ioctl(vcpu, RUN, 0)
        (reason,) = struct.unpack_from("I", run, 8)
        if reason != expected:
            return f"a guest of three instructions ended with exit reason {reason}"
    return "works"


if __name__ == "__main__":
    try:
        print(main())
    except OSError as error:
        print(f"{error.filename or 'a call'}: {error.strerror}")
