"""A host whose /sys, /proc and /boot are a directory, and whose programs say what a test wants.

So code that asks a Host about hardware runs as it is, on files as they were on another machine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.pci.dump import parse_dump
from suites.selftest.support.files import CAPTURED

DUMP = CAPTURED / "pci" / "82599.txt"

PLACES = ("/sys/", "/proc/", "/boot/", "/dev/", "/etc/", "/var/")
PLAIN = ("head", "readlink", "grep", "mkdir", "rm", "rmdir")
"""Programs that only deal with files: they run for real."""


class RootedHost(LocalHost):
    """`answers` maps a command line to what it prints; every other one fails."""

    plain: tuple[str, ...] = PLAIN

    def __init__(
        self, root: Path, answers: dict[str, str] | None = None, name: str = "alpha"
    ) -> None:
        super().__init__(name)
        self.root = root
        self.answers = answers or {}

    def put(self, path: str, content: str | bytes = "") -> None:
        """A file of the host."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, path: str, target: str) -> None:
        """A symbolic link of the host."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def _inside(self, word: str) -> str:
        return f"{self.root}{word}" if word.startswith(PLACES) else word

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        stdin: bytes | None = None,
        check: bool = True,
    ) -> CommandResult:
        line = " ".join(argv)
        if argv[0] in self.plain and line not in self.answers:
            inside = tuple(map(self._inside, argv))
            found = super().run(inside, timeout=timeout, stdin=stdin, check=False)
            out = found.stdout.replace(os.fsencode(self.root), b"")
            result = CommandResult(self.name, tuple(argv), found.returncode, out, found.stderr)
        else:
            text = self.answers.get(line)
            status = 1 if text is None else 0
            result = CommandResult(self.name, tuple(argv), status, (text or "").encode(), b"no")
        return result.checked() if check else result

    def read(self, path: str) -> bytes:
        return super().read(self._inside(path))

    def write(self, path: str, data: bytes) -> None:
        super().write(self._inside(path), data)

    def exists(self, path: str) -> bool:
        return super().exists(self._inside(path))

    def glob(self, pattern: str) -> tuple[str, ...]:
        return tuple(
            path.removeprefix(str(self.root)) for path in super().glob(self._inside(pattern))
        )


def with_82599(root: Path) -> RootedHost:
    """A server with both ports of a real 82599, next to CPUs 8 to 15, each alone in its group."""
    host = RootedHost(root, {"ethtool -i eth0": "driver: ixgbe\nfirmware-version: 0x61c10001\n"})
    for number, device in enumerate(parse_dump(DUMP.read_text())):
        at = f"/sys/bus/pci/devices/{device.address}"
        host.put(f"{at}/config", device.data)
        host.put(f"{at}/vendor", "0x8086\n")
        host.put(f"{at}/device", f"0x{device.data[3]:02x}{device.data[2]:02x}\n")
        host.put(f"{at}/class", "0x020000\n")
        host.put(f"{at}/numa_node", "1\n")
        host.put(f"{at}/sriov_totalvfs", "63\n")
        host.put(f"{at}/net/eth{number}/mtu", "1500\n")
        host.link(f"{at}/driver", "../../../../bus/pci/drivers/ixgbe")
        host.link(f"{at}/iommu_group", f"../../../../kernel/iommu_groups/{30 + number}")
        host.put(f"/sys/kernel/iommu_groups/{30 + number}/devices/{device.address}")
    host.put("/sys/devices/system/cpu/online", "0-15\n")
    host.put("/sys/devices/system/node/node1/cpulist", "8-15\n")
    return host
