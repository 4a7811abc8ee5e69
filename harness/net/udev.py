"""A host's udev: it renames interfaces that have just appeared, and takes its time.

A name that the kernel gave to an interface lasts until udev has come to it, and what udev then
thinks of it may come after what we have done. So nothing is done by name until it is through; and
what cannot wait is done by whatever name the interface has at that moment.
"""

from __future__ import annotations

from harness.hosts.base import Host

SETTLE = """
udev_settled() {
    if [ -S /run/udev/control ] && command -v udevadm >/dev/null; then
        udevadm settle --timeout=15 || :
    fi
}
"""
"""Shell: wait until udev is through with all that the kernel has told it so far (udevadm(8)), at
most so many seconds: it may be busy with something that is no concern of ours. Where udev does not
run there is nothing to wait for."""


def settle(host: Host) -> None:
    """Wait for the host's udev, if it has one."""
    host.run(("sh", "-c", f"{SETTLE}udev_settled"))
