"""Open a function through VFIO, as a program does that wants to drive it, and let it go again.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text>`, with a specification as JSON on its standard input, since it
may hold a secret and arguments are there for all users to read:

    bdf, group   a function, bound to vfio-pci, and the number of its IOMMU group
    token        the VF token that comes with the request, "" for none

It prints the name of the errno with which the kernel refuses the function, or nothing if it does
not. The ioctls are those of include/uapi/linux/vfio.h (a group in a container of type 1); how a
token goes with a name is told in vfio_pci_validate_vf_token, drivers/vfio/pci/vfio_pci_core.c.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import sys

SET_CONTAINER, GROUP_DEVICE = 0x3B68, 0x3B6A
SET_IOMMU, TYPE1 = 0x3B66, 1


def refusal(bdf: str, group: str, token: str) -> str:
    """The errno's name, "" if the function can be had. All is closed when the process ends."""
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    held = os.open(f"/dev/vfio/{group}", os.O_RDWR)
    fcntl.ioctl(held, SET_CONTAINER, struct.pack("=i", container))
    fcntl.ioctl(container, SET_IOMMU, TYPE1)
    name = f"{bdf} vf_token={token}" if token else bdf
    try:
        fcntl.ioctl(held, GROUP_DEVICE, bytearray(name.encode() + b"\0"))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return ""


if __name__ == "__main__":
    spec = json.load(sys.stdin)
    print(refusal(spec["bdf"], spec["group"], spec["token"]))
