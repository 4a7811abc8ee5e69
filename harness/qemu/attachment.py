"""What a path hands on to whoever boots a guest with it, and proves where its traffic went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NicAttachment:
    """A provisioned path, as data: everything that booting and proving need to know of it."""

    path: str
    mac: str  # the address that the link partner must see
    driver: str  # what must be bound where the traffic ends: "igbvf", "virtio_net", ...
    device_args: tuple[str, ...] = ()  # for QEMU; empty for native
    fds: tuple[str, ...] = ()  # files that QEMU inherits as descriptors 3, 4, ...
    interface: str = ""  # native only: the host's interface that carries the traffic
    netns: str = ""  # native only: the host's namespace that it is in
    host_interface: str = ""  # the PF's interface on the host; "" where the host has none
    tap: str = ""  # the macvtap upon it, whose queue QEMU or vhost empties
    host_carries: bool = False  # does the PF's interface see this path's frames?

    @property
    def is_guest(self) -> bool:
        """False for native, which ends on the host itself."""
        return not self.interface
