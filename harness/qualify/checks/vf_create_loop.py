"""VFs that come and go again and again, on the host's own clock and at its own pace."""

from __future__ import annotations

from harness.hosts.base import CommandResult
from harness.qualify.rig.rig import Port

CYCLE = """
for turn in $(seq "$3"); do
    echo "$2" >"$1" && echo 0 >"$1" || exit 1
done
"""

BESIDE = """
numvfs=$1 count=$2 turns=$3 pause=$4
shift 4
"$@" & traffic=$!
for turn in $(seq "$turns"); do
    for number in "$count" 0; do
        sleep "$pause"
        echo "$number" >"$numvfs" || exit 1
    done
done
wait $traffic
"""

SLOWEST = 5.0
"""Seconds for one making and removing of all VFs: drivers wait a while before they remove them,
igb half a second, and each VF's driver may take a while to bind."""


def cycle(port: Port, count: int, turns: int) -> None:
    """Make `count` VFs and remove them again, `turns` times. Only within `free_of_vfs`."""
    argv = ("sh", "-c", CYCLE, "sh", f"{port.device.sysfs}/sriov_numvfs", str(count), str(turns))
    port.host.run(argv, timeout=30 + SLOWEST * turns)


def beside(
    port: Port, traffic: tuple[str, ...], count: int, turns: int, pause: int, seconds: int
) -> CommandResult:
    """What comes of `traffic`, a command on the host that takes `seconds`, while `count` VFs are
    made and removed `turns` times with pauses of `pause` seconds before each."""
    numvfs = f"{port.device.sysfs}/sriov_numvfs"
    script = ("sh", "-c", BESIDE, "sh", numvfs, str(count), str(turns), str(pause))
    return port.host.run((*script, *traffic), timeout=60 + SLOWEST * turns + 4 * seconds)
