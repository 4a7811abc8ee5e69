"""The programs that a run starts on a real host, and who brings them."""

from __future__ import annotations

from harness.core.errors import ConfigError
from harness.hosts.base import Host
from harness.hosts.program import require_python
from harness.workloads.iperf3_version import require

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

GUESTS_ONLY = ("qemu-system-x86_64", "modprobe", "pgrep", "taskset")
"""What is not wanted where there are no guests: on the link partner's host, if it is another."""

LOOK = 'for each; do command -v "$each" >/dev/null || echo "$each"; done'


def require_programs(host: Host, *, guests: bool = True) -> None:
    """ConfigError that names all programs that are missing, and the command that brings them, or
    a Python or an iperf3 that is too old; `guests`: is the host to carry any?"""
    wanted = [each for each in PACKAGES if guests or each not in GUESTS_ONLY]
    missing = host.run(("sh", "-c", LOOK, "sh", *wanted)).text.split()
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES[each] for each in missing))
        raise ConfigError(
            f"{host.name} has no {', '.join(missing)}",
            remedy=f"there: sudo apt-get install {packages}",
        )
    require_python(host)
    require(host.run(("iperf3", "--version")).text, host.name)
