"""The programs that a run starts on a real host, and who brings them."""

from __future__ import annotations

from harness.errors import ConfigError
from harness.host.base import Host

PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "iperf3": "iperf3",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "ss": "iproute2",
    "ping": "iputils-ping",
    "python3": "python3",
    "modprobe": "kmod",
    "pgrep": "procps",
    "taskset": "util-linux",
}
"""Program -> Debian's package. The rest is in every installation (coreutils, grep, sed)."""

LOOK = 'for each; do command -v "$each" >/dev/null || echo "$each"; done'


def require_programs(host: Host) -> None:
    """ConfigError that names all programs that are missing, and the command that brings them."""
    missing = host.run(("sh", "-c", LOOK, "sh", *PACKAGES)).text.split()
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[each] for each in missing))
        raise ConfigError(
            f"{host.name} has no {', '.join(missing)}",
            remedy=f"there: sudo apt-get install {packages}",
        )
