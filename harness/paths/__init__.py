"""The network paths into a VM, in the order in which people compare them."""

from __future__ import annotations

from harness.core.errors import ConfigError
from harness.paths.base import NetworkPath
from harness.paths.emulated import EMULATED
from harness.paths.native import NativePath
from harness.paths.passthrough import PassthroughPath
from harness.paths.sriov import SriovPath
from harness.paths.virtio import VIRTIO

ALL: tuple[NetworkPath, ...] = (
    NativePath(),
    *EMULATED,
    *VIRTIO,
    PassthroughPath(),
    SriovPath(),
)

DEFAULT = tuple(path.name for path in ALL if path.usual)


def guest_drivers() -> tuple[str, ...]:
    """Kernel modules that the micro guest must have, to be the guest of any of them."""
    return tuple(sorted({driver for path in ALL for driver in path.guest_drivers}))


def select(names: tuple[str, ...]) -> tuple[NetworkPath, ...]:
    """The paths of these names, in the order given; ConfigError for a name there is not."""
    known = {path.name: path for path in ALL}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        message = ", ".join(repr(name) for name in unknown) or "nothing"
        raise ConfigError(
            f"--paths: {message} is not a path", remedy=f"choose from {', '.join(known)}"
        )
    return tuple(known[name] for name in dict.fromkeys(names))
