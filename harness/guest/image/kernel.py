"""The uncompressed kernel inside a bzImage.

An emulated CPU spends about as long on unpacking a kernel as on the first half of booting it, and
QEMU starts an uncompressed one directly through its PVH entry (CONFIG_PVH, on in Debian).

Format: Documentation/arch/x86/boot.rst in Linux.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

from harness.core.errors import LabError
from harness.guest.image import elf
from harness.guest.image.rootfs import LIBRARIES

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
HEADER_MAGIC = b"HdrS"
PAYLOAD_VERSION = 0x0208  # the boot protocol that first tells where the payload lies


def payload(image: bytes) -> tuple[bytes, int]:
    """The compressed kernel in a bzImage, and its uncompressed size in bytes.

    Raises LabError if `image` is no bzImage of boot protocol 2.08 or later.
    """
    if image[0x202:0x206] != HEADER_MAGIC or len(image) < 0x250:
        raise LabError("this kernel is no bzImage")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < PAYLOAD_VERSION:
        raise LabError(f"a bzImage of boot protocol {version:#06x} does not tell its payload")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    data = image[start : start + length]
    if len(data) != length or length < 8:
        raise LabError("this bzImage is cut short")
    # The build appends the size to what the compressor made (arch/x86/boot/compressed/Makefile).
    return data[:-4], struct.unpack_from("<I", data, length - 4)[0]


def uncompressed(root: Path, image: bytes) -> bytes | None:
    """The ELF kernel in a bzImage, or None if it is packed otherwise than with zstd.

    The root tree's own libzstd unpacks it: Python has none before 3.14. Raises LabError if that
    library cannot be used here or the payload is broken.
    """
    packed, size = payload(image)
    if not packed.startswith(ZSTD_MAGIC):
        return None
    kernel = _zstd(root / LIBRARIES / "libzstd.so.1", packed, size)
    if not elf.is_elf(kernel):
        raise LabError("the kernel in this bzImage is no 64-bit ELF file")
    return kernel


def _zstd(library: Path, packed: bytes, size: int) -> bytes:
    try:
        zstd = ctypes.CDLL(str(library))
    except OSError as error:
        raise LabError(
            f"cannot load {library}: {error}",
            remedy="the controller needs a C library of glibc 2.34 or later, on x86-64",
        ) from error
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    zstd.ZSTD_decompress.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    room = ctypes.create_string_buffer(size)
    got = zstd.ZSTD_decompress(room, size, packed, len(packed))
    if got != size:  # error codes are huge numbers, never a size
        raise LabError(f"the kernel did not unpack to its {size} bytes")
    return room.raw
