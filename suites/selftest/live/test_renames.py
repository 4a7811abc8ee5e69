"""Interfaces whose names change while they are being put to use, as udev has it.

L1 has no udev, so a program there renames new interfaces in its stead, again and again for a while:
whoever does a thing by a name that was asked for a moment before comes too late. What is right with
a real one, suites/distro sees.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import paths
from harness.core.deadline import Deadline
from harness.inventory import LinkPlan
from harness.journal.journal import Journal
from harness.labs.nested.lab import NestedLab
from harness.measure.endpoint import endpoint
from harness.paths.base import PathOptions
from harness.pci.binding import unbound
from harness.pci.device import Device

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), pytest.mark.usefixtures("settled")]

RENAME = r"""
known=" $(ls /sys/class/net | tr '\n' ' ') "
while :; do
    for name in $(ls /sys/class/net); do
        case "$known" in *" $name "*) continue ;; esac
        for turn in $(seq 40); do
            ip link set dev "$name" name "try$turn" 2>/dev/null || break
            name=try$turn
            sleep 0.01
        done
    done
    sleep 0.05
done
"""
"""Give each interface whose name was not known at the start 40 other names, as long as it is
there."""


@pytest.fixture
def renamed(lab: NestedLab) -> Iterator[None]:
    with lab.host.spawn(("sh", "-c", RENAME)):
        yield


@pytest.mark.usefixtures("renamed")
def test_a_vf_of_the_host_is_had_whatever_it_is_called(lab: NestedLab) -> None:
    """The native path, addressed, up and with a carrier."""
    (path,) = paths.select(("native",))
    journal = Journal(lab.host, "renamed")
    with (
        path.provision(lab.host, lab.ports, journal, PathOptions()) as attachment,
        endpoint(lab.host, attachment, LinkPlan(), None) as end,
    ):
        assert end.driver == "igbvf"
    journal.close()


LATE = r"""
mkdir -p /run/udev && python3 -c 'import socket; socket.socket(1).bind("/run/udev/control")'
cat >/usr/sbin/udevadm <<'END'
#!/bin/sh
for _ in $(seq 1500); do [ -e /run/udev/busy ] || exit 0; sleep 0.01; done
exit 1
END
chmod 755 /usr/sbin/udevadm
echo ready
while ls "$1/net"; do sleep 0.01; done >/dev/null 2>&1
touch /run/udev/busy
until ip link set dev "$(ls "$1/net" 2>/dev/null)" name late 2>/dev/null; do sleep 0.01; done
sleep 0.5
ip link set dev late down
ip link set dev late name slot1 && rm /run/udev/busy
"""
"""A stand-in of udev, which takes an interface for new as soon as it is there again, and gives it a
name by its slot when it has thought about it. Its `udevadm settle` waits for that."""


@pytest.fixture
def late(lab: NestedLab) -> Iterator[str]:
    """The name of the port under test, which udev knows by another one."""
    port = Device(lab.host, lab.ports.dut)
    try:
        with lab.host.spawn(("sh", "-c", LATE, "sh", port.sysfs)) as udev:
            Deadline(20.0, "the stand-in of udev").poll(lambda: b"ready" in udev.output())
            yield port.interface
            assert udev.wait(20.0).returncode == 0
    finally:
        lab.host.run(("rm", "-rf", "/run/udev", "/usr/sbin/udevadm"))


def test_a_port_that_is_bound_again_has_its_name_though_udev_gives_it_another(
    lab: NestedLab, late: str
) -> None:
    journal = Journal(lab.host, "late")
    with unbound(lab.host, lab.ports.dut, journal):
        pass
    journal.close()
    assert Device(lab.host, lab.ports.dut).interface == late
