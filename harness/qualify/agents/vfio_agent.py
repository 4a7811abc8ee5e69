"""Drive a VF by hand through VFIO and let it send frames, from memory that it may reach or not.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text> <specification as JSON>`:

    bdf, group   the VF, bound to vfio-pci, and the number of its IOMMU group
    mapped       IOVA at which one page of this program's memory is mapped for it
    outside      IOVA at which nothing is
    registers    offsets in BAR 0: control, mailbox, message, queue
    send         [[frame as hex, how], ...]; how is "mapped", "read" or "write"

"mapped" sends as any driver does. "read" lets the VF fetch the frame's bytes from `outside`;
"write" sends a frame from the page and has the VF report its progress, the head write-back of its
transmit queue, to `outside`. It prints the VF's address, as the PF answers it.

The ioctls are those of include/uapi/linux/vfio.h (a group in a container of type 1). Registers and
mailbox are alike in igbvf and ixgbevf (regs.h, mbx.h, vf.c of each), but for where they are.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable

GROUP_STATUS, SET_CONTAINER, GROUP_DEVICE = 0x3B67, 0x3B68, 0x3B6A
SET_IOMMU, TYPE1 = 0x3B66, 1
REGION_INFO, BAR0, CONFIG = 0x3B6C, 0, 7
REGION = struct.Struct("=IIIIQQ")  # argsz, flags, index, cap_offset, size, offset
MAP_DMA = 0x3B71
MAPPING = struct.Struct("=IIQQQ")  # argsz, flags, vaddr, iova, size
VIABLE = 1
READ_WRITE = 3
COMMAND, MASTER = 4, 4  # PCI configuration space

RESET = 1 << 26
REQUEST, ACK, TAKEN, PF_SENT, PF_RESET = 0x01, 0x02, 0x04, 0x10, 0xC0
VF_RESET, ACKNOWLEDGED = 0x01, 1 << 31

BASE_LOW, LENGTH, HEAD, TAIL, CONTROL, BACK_LOW, HIGH = 0x00, 0x08, 0x10, 0x18, 0x28, 0x38, 4
"""Of a transmit queue, from its first on: TDBAL, TDLEN, TDH, TDT, TXDCTL, TDWBAL; the high half of
an address is in the register after it."""

ENABLED = 1 << 25
BACK_ENABLED = 1
DESCRIPTOR = struct.Struct("<QII")
WHOLE_FRAME = 0x2B300000  # advanced data descriptor: DEXT, RS, IFCS, EOP, DTYP
PAYLOAD = 14

PAGE = 4096
DESCRIPTORS = 128
"""Bytes of the descriptors at the page's start, as few as TDLEN can say; then comes the frame."""

PATIENCE, SOON = 2.0, 0.5
"""Seconds."""


def until(what: str, probe: Callable[[], object], seconds: float = PATIENCE) -> None:
    if not comes(probe, seconds):
        raise SystemExit(f"{what} did not happen within {seconds:g} s")


def comes(probe: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


class Vf:
    """The device, with its BAR 0 and one page of memory mapped for it. It ends with the process:
    the kernel then takes the mapping away and resets the function."""

    def __init__(self, bdf: str, group: int, iova: int) -> None:
        self.container = os.open("/dev/vfio/vfio", os.O_RDWR)
        self.group = os.open(f"/dev/vfio/{group}", os.O_RDWR)
        status = bytearray(struct.pack("=II", 8, 0))
        fcntl.ioctl(self.group, GROUP_STATUS, status)
        if not struct.unpack("=II", status)[1] & VIABLE:
            raise SystemExit(f"a device of IOMMU group {group} is not bound to vfio")
        fcntl.ioctl(self.group, SET_CONTAINER, struct.pack("=i", self.container))
        fcntl.ioctl(self.container, SET_IOMMU, TYPE1)
        self.page = mmap.mmap(-1, PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.page))
        request = MAPPING.pack(MAPPING.size, READ_WRITE, address, iova, PAGE)
        fcntl.ioctl(self.container, MAP_DMA, request)
        # Only of a buffer that may be written to does fcntl tell what the ioctl returned.
        self.device = fcntl.ioctl(self.group, GROUP_DEVICE, bytearray(bdf.encode() + b"\0"))
        _, start = self.region(CONFIG)
        command = struct.unpack("<H", os.pread(self.device, 2, start + COMMAND))[0]
        os.pwrite(self.device, struct.pack("<H", command | MASTER), start + COMMAND)
        size, start = self.region(BAR0)
        self.bar = memoryview(mmap.mmap(self.device, size, offset=start)).cast("I")

    def region(self, index: int) -> tuple[int, int]:
        """Size and offset of a region in the device's file."""
        request = bytearray(REGION.pack(REGION.size, 0, index, 0, 0, 0))
        fcntl.ioctl(self.device, REGION_INFO, request)
        _, _, _, _, size, offset = REGION.unpack(request)
        return size, offset

    def read(self, register: int) -> int:
        return self.bar[register // 4]

    def write(self, register: int, value: int) -> None:
        self.bar[register // 4] = value & 0xFFFFFFFF


class Mailbox:
    """Between VF and PF. Bits that say what the PF did are cleared by reading, so keep them."""

    def __init__(self, vf: Vf, register: int, message: int) -> None:
        self.vf, self.register, self.message = vf, register, message
        self.seen = 0

    def look(self, bits: int) -> int:
        self.seen |= self.vf.read(self.register)
        return self.seen & bits

    def take(self) -> None:
        def taken() -> int:
            self.vf.write(self.register, TAKEN)
            now = self.vf.read(self.register)
            self.seen |= now
            return now & TAKEN

        until("getting the mailbox", taken)

    def reset(self, control: int) -> bytes:
        """Reset the VF and have the PF set it up again; its address as the PF answers it."""
        self.vf.write(control, RESET)
        until("the PF's end of reset", lambda: not self.vf.read(self.register) & PF_RESET)
        self.take()
        self.vf.write(self.message, VF_RESET)
        self.seen = 0
        self.vf.write(self.register, REQUEST)
        while True:
            until("the PF's answer to a VF's reset", lambda: self.look(PF_SENT))
            self.take()
            word, low, high = (self.vf.read(self.message + 4 * index) for index in range(3))
            self.seen = 0
            self.vf.write(self.register, ACK)
            if word & 0xFFFF == VF_RESET:
                break
        if not word & ACKNOWLEDGED:
            raise SystemExit(f"the PF denies the VF its reset: 0x{word:08x}")
        return struct.pack("<II", low, high)[:6]


class Queue:
    """The VF's first transmit queue, which lies with its frames in the mapped page."""

    def __init__(self, vf: Vf, base: int, iova: int) -> None:
        self.vf, self.base, self.iova = vf, base, iova

    def write(self, register: int, value: int) -> None:
        self.vf.write(self.base + register, value)

    def read(self, register: int) -> int:
        return self.vf.read(self.base + register)

    def stop(self) -> None:
        self.write(CONTROL, 0)
        until("disabling the queue", lambda: not self.read(CONTROL) & ENABLED)

    def start(self, back: int) -> None:
        """With nothing in it; `back` is where the VF writes its progress, 0 for nowhere."""
        for register, value in ((BASE_LOW, self.iova), (BACK_LOW, back)):
            self.write(register, value)
            self.write(register + HIGH, value >> 32)
        self.write(LENGTH, DESCRIPTORS)
        self.write(HEAD, 0)
        self.write(TAIL, 0)
        self.write(CONTROL, ENABLED)
        until("enabling the queue", lambda: self.read(CONTROL) & ENABLED)

    def send(self, frame: bytes, address: int) -> None:
        """Send a frame from the page, or what is at `address` if that is not 0, and wait until it
        is taken; a VF may hang over a frame that it cannot fetch, so not for long."""
        self.vf.page[DESCRIPTORS : DESCRIPTORS + len(frame)] = frame
        source = address or self.iova + DESCRIPTORS
        descriptor = DESCRIPTOR.pack(source, WHOLE_FRAME | len(frame), len(frame) << PAYLOAD)
        self.vf.page[: len(descriptor)] = descriptor
        self.write(TAIL, 1)
        comes(lambda: self.read(HEAD) == 1, SOON)


def run(spec: dict) -> str:  # type: ignore[type-arg]
    registers, outside = spec["registers"], spec["outside"]
    vf = Vf(spec["bdf"], spec["group"], spec["mapped"])
    mac = Mailbox(vf, registers["mailbox"], registers["message"]).reset(registers["control"])
    queue = Queue(vf, registers["queue"], spec["mapped"])
    for frame, how in spec["send"]:
        queue.stop()
        queue.start(outside | BACK_ENABLED if how == "write" else 0)
        queue.send(bytes.fromhex(frame), outside if how == "read" else 0)
    return mac.hex(":")


if __name__ == "__main__":
    print(run(json.loads(sys.argv[1])))
