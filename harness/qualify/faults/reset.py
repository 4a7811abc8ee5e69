"""Function level resets, by the kernel's own way of doing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoWrite
from harness.pci.device import ROOT
from harness.qualify.faults.recovery import WRITE
from harness.qualify.rig.node import PREFIX, Node

OF_ONE_FUNCTION = ("flr", "af_flr", "device_specific")
"""The kernel's names of resets that spare other functions. The last is an FLR too, for VFs whose
own capability does not tell of it, such as the 82599's (reset_intel_82599_sfp_virtfn in
drivers/pci/quirks.c)."""

BETWEEN_DRIVERS = """
bdf=$1 interface=$2 ip=$3
cd "/sys/bus/pci/devices/$bdf" || exit 1
driver=$(basename "$(readlink driver)")
echo "$bdf" >driver/unbind || exit 1
echo 1 | dd of=reset status=none || exit 1
echo "$bdf" >"/sys/bus/pci/drivers/$driver/bind" || exit 1
until [ -e "/sys/class/net/$interface" ]; do sleep 0.02; done
ip address add "$ip" dev "$interface" && ip link set "$interface" up
"""


@contextmanager
def flr_only(host: Host, bdf: str, journal: Journal) -> Iterator[tuple[str, ...]]:
    """The function is reset by FLR and in no other way; yields the argv of a reset.

    MissingCapability if it has no FLR.
    """
    prior = " ".join(reset_methods(host, bdf))
    with journal.change(f"had {bdf} be reset by FLR only", (UndoWrite(_path(bdf), prior),)):
        insist_on_flr(host, bdf)
        yield (*WRITE, "1", f"{ROOT}/{bdf}/reset")


def insist_on_flr(host: Host, bdf: str) -> None:
    """Leave the kernel no other way to reset the function: else it would turn to a bus or power
    reset (reset_method in Documentation/ABI/testing/sysfs-bus-pci).

    MissingCapability if the function has no FLR.
    """
    methods = reset_methods(host, bdf)
    way = next((each for each in OF_ONE_FUNCTION if each in methods), None)
    if way is None:
        raise MissingCapability("FLR", f"{bdf} is reset by: {' '.join(methods) or 'nothing'}")
    host.write(_path(bdf), way.encode())


def reset_between_drivers(node: Node, bdf: str) -> tuple[str, ...]:
    """argv, for the node's machine, that takes the function from its driver, resets it, and sets
    its interface up again under the same driver."""
    address = f"{node.ip}/{PREFIX}"
    return ("sh", "-c", BETWEEN_DRIVERS, "sh", bdf, node.interface, address)


def reset_methods(host: Host, bdf: str) -> tuple[str, ...]:
    """The ways in which the kernel can reset the function, in the order in which it tries them."""
    path = _path(bdf)
    return tuple(host.read(path).decode().split()) if host.exists(path) else ()


def _path(bdf: str) -> str:
    return f"{ROOT}/{bdf}/reset_method"
