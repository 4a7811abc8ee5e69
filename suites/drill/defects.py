"""NICs that are no good: for a while a lab's host has one, and everybody takes it for what it is.

Nothing stands between the harness and the host. A driver is loaded that is broken in its machine
code, or the kernel is told to reset the port no more; what a case gets to hear is what the kernel
says on any machine with such a NIC.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from harness.hosts.base import Host
from harness.labs.base import Lab
from harness.net.netdev import link
from harness.pci.device import Device
from harness.records.cases import Verdict
from suites.drill.kernelmodule import returning, without_pointers

BROKEN = "/run/nicproof-broken"
"""A file of L1 for what is broken."""

RELOAD = """
driver=$1
shift
! [ -e "/sys/module/$driver" ] || rmmod "$driver" || exit
"$@"
"""
"""The driver alone: modprobe -r would take along what it depends on."""

NAMED = """
turn=0
for wanted; do
    for net in "/sys/bus/pci/devices/${wanted%%=*}/net/"*; do
        turn=$((turn + 1))
        ip link set "${net##*/}" down name "npport$turn" || exit
    done
done
turn=0
for wanted; do
    turn=$((turn + 1))
    state=${wanted##*=} name=${wanted#*=}
    ip link set "npport$turn" name "${name%=*}" && ip link set "${name%=*}" "$state" || exit
done
"""
"""Give the interfaces of ports the names and states in BDF=NAME=STATE; others of these may have
their names by then."""


@dataclass(frozen=True)
class Defect:
    """Something that is wrong with a NIC or its driver, and what cases must say of it."""

    name: str
    present: Callable[[Lab], AbstractContextManager[None]]
    says: str  # what the case that is about it tells, as a pattern
    verdicts: Mapping[str, Verdict]  # of cases; "error": their set-up has the defect


Change = Callable[[bytes], bytes]


def driver(name: str, change: Change) -> Callable[[Lab], AbstractContextManager[None]]:
    """The defect of a host whose driver of that name is changed."""

    @contextmanager
    def present(lab: Lab) -> Iterator[None]:
        host = lab.host
        path = host.run(("modinfo", "-n", name)).text.strip()
        ports = [_as_it_is(host, bdf) for bdf in (lab.ports.dut, lab.ports.partner)]
        host.write(BROKEN, change(host.read(path)))
        try:
            _reload(host, name, ("insmod", BROKEN), ports)
            yield
        finally:
            _reload(host, name, ("modprobe", name), ports)
            host.run(("rm", "-f", BROKEN))

    return present


def _as_it_is(host: Host, bdf: str) -> str:
    """A port's interface, for NAMED."""
    interface = Device(host, bdf).interface
    state = "up" if "UP" in link(host, interface).flags else "down"
    return f"{bdf}={interface}={state}"


def _reload(host: Host, name: str, load: tuple[str, ...], ports: list[str]) -> None:
    host.run(("sh", "-c", RELOAD, "sh", name, *load))
    host.run(("sh", "-c", NAMED, "sh", *ports))


MUTE = """
cat "$1" >"$2" && echo >"$1" && mount --bind "$2" "$1"
"""

HEARD = """
umount "$1" && cat "$2" >"$1" && rm -f "$2"
"""


@contextmanager
def no_reset(lab: Lab) -> Iterator[None]:
    """The kernel has no way to reset the PF, and says still that it has.

    A way is taken away by reset_method (Documentation/ABI/testing/sysfs-bus-pci); whoever asks for
    the ways reads, and sets, a copy of the file from before.
    """
    path = f"{Device(lab.host, lab.ports.dut).sysfs}/reset_method"
    lab.host.run(("sh", "-c", MUTE, "sh", path, BROKEN))
    try:
        yield
    finally:
        lab.host.run(("sh", "-c", HEARD, "sh", path, BROKEN))


CONFIGURE = "igb_pci_sriov_configure"
"""What igb does when sriov_numvfs is written to (drivers/net/ethernet/intel/igb/igb_main.c)."""

CHECK_LINK = "e1000_check_for_link_vf"
"""By which igbvf learns that it has a link (drivers/net/ethernet/intel/igbvf/vf.c)."""

VERDICTS_WITHOUT_VFS: Mapping[str, Verdict] = {
    "lifecycle.most-vfs": "fail",
    "lifecycle.refused-counts[one too many]": "pass",
    "lifecycle.refused-counts[-1]": "pass",
    "lifecycle.refused-counts[unzeroed change]": "error",
    "discovery.identity-of-vfs": "error",
}

DEFECTS = (
    Defect(
        "PF driver without SR-IOV",
        driver("igb", lambda module: without_pointers(module, CONFIGURE)),
        "setting sriov_numvfs to 1 failed: .*sriov_numvfs.*No such file or directory",
        VERDICTS_WITHOUT_VFS,
    ),
    Defect(
        "no memory for VFs",
        driver("igb", lambda module: returning(module, CONFIGURE, -errno.ENOMEM)),
        "setting sriov_numvfs to 1 failed: .*sriov_numvfs.*Cannot allocate memory",
        VERDICTS_WITHOUT_VFS,
    ),
    Defect(
        "VF without carrier",
        driver("igbvf", lambda module: returning(module, CHECK_LINK, 0)),
        "using the VF, turn 1, failed: a carrier .* did not happen",
        {
            "lifecycle.rebinding": "fail",
            "lifecycle.most-vfs": "pass",
            "ptp.vf-has-no-clock": "error",
        },
    ),
    Defect(
        "FLR that fails",
        no_reset,
        "an FLR of the PF.* failed: .*Inappropriate ioctl for device",
        {"resets.pf-flr": "fail", "lifecycle.most-vfs": "pass"},
    ),
)
