"""VFs of guests: they come to them, leave them and survive their end."""

from __future__ import annotations

import re

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import LabError, MissingCapability
from harness.hosts.base import Host
from harness.qualify.checks import guest_lifecycle
from harness.qualify.rig.act import under_test
from harness.qualify.rig.node import reaches, require_answers
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import Vf, for_guest, guest_node, in_guests, on_host, vfs
from harness.qualify.traffic.concurrent_ping import answers_at_once

NEEDS = ("KVM", "IOMMU", "SR-IOV")

TURNS = 3
"""Times that a VF is plugged into one guest."""


def usable(rig: Rig, vf: Vf) -> bool:
    """Whether the VF, bound to its driver on the host, carries traffic."""
    with on_host(rig, vf) as node:
        return reaches(node, rig.wire.ip)


@pytest.mark.case("kernel", needs=NEEDS)
@pytest.mark.parametrize("end", guest_lifecycle.ENDS)
def test_given_back(rig: Rig, end: str, evidence: Evidence) -> None:
    """A guest that reboots, crashes or is killed in the middle of traffic gives its VF back
    usable."""
    with vfs(rig, 1) as (vf,):
        with in_guests(rig, (vf,), "given-back") as ((guest, node),):
            require_answers(node, rig.wire.ip)
            with (
                under_test(f"the guest's {end}"),
                rig.host.spawn(rig.wire.argv(("ping", "-q", "-i", "0.05", vf.ip))),
            ):
                guest_lifecycle.ENDS[end](guest)
            if end == "reboot":
                with under_test("using the VF in the rebooted guest"):
                    again = guest_node(guest, vf)
                    again.address()
                    again.await_carrier()
                    assert reaches(again, rig.wire.ip), "no answer to the rebooted guest"
        with under_test(f"using the VF on the host after the guest's {end}"):
            assert usable(rig, vf), f"no answer through the VF on the host after the guest's {end}"
    evidence(f"after the guest's {end} the VF answered on the host")


@pytest.mark.case("qemu", needs=NEEDS)
def test_hot_plug(rig: Rig, evidence: Evidence) -> None:
    """A VF is plugged into a running guest and carries traffic, is unplugged, and both go on."""
    with vfs(rig, 1) as (vf,):
        with (
            for_guest(rig, vf) as nic,
            rig.booted("hot-plug", (), extra_args=guest_lifecycle.hotplug_port()) as guest,
        ):
            for turn in range(TURNS):
                with under_test(f"plugging the VF, turn {turn + 1},"):
                    guest_lifecycle.plug(guest, nic.device_args, "hot0")
                    guest.host.run(("modprobe", nic.driver))  # where no udev does it
                    node = guest_node(guest, vf)
                    node.address()
                    node.await_carrier()
                    assert reaches(node, rig.wire.ip), f"no answer, plugged {turn + 1} times"
                with under_test(f"unplugging the VF, turn {turn + 1},"):
                    guest_lifecycle.unplug(guest, "hot0")
                    assert vf.mac not in guest.host.run(("ip", "link")).text, "the guest keeps it"
        with under_test("using the VF on the host after it was unplugged"):
            assert usable(rig, vf), "no answer through the VF on the host after it was unplugged"
    evidence(f"{TURNS} times plugged, answered, unplugged; then it answered on the host")


@pytest.mark.case("device", needs=NEEDS)
def test_two_guests(rig: Rig, evidence: Evidence) -> None:
    """Two guests on two VFs reach the link partner and each other at the same time."""
    with (
        vfs(rig, 2) as made,
        under_test("giving each of two guests a VF, and their traffic"),
        in_guests(rig, made, "two") as ((_, one), (_, two)),
    ):
        with one.host.spawn(("ping", "-q", "-c", "10000", two.ip)) as between:
            answers = answers_at_once(rig.wire, (one.ip, two.ip))
            assert between.poll() is None
        assert set(answers.values()) == {20}, f"answers to the partner: {answers}"
        assert reaches(one, two.ip, count=10), "no answer from guest to guest"
        assert reaches(two, one.ip, count=10), "no answer from guest to guest"
    evidence(f"20 of 20 answers of each guest to the partner, at once: {', '.join(answers)}")


FEWEST = 3
ROOM_MIB = 128
"""Memory that QEMU takes for itself beside the guest's, generously."""


@pytest.mark.case("device", needs=NEEDS)
def test_most_guests(rig: Rig, evidence: Evidence) -> None:
    """As many guests as there can be VFs, or as memory allows, answer the partner at once."""
    most = int(rig.port.device.attribute("sriov_totalvfs"))
    room = available_mib(rig.host) // (rig.guest.memory_mib + ROOM_MIB)
    if rig.guest.hugepages:
        room = rig.guest.hugepages.count // rig.guest.pages
    count = min(most, room)
    if count < min(FEWEST, most):
        raise MissingCapability("memory", f"{rig.host.name} has room for {room} guests")
    with (
        vfs(rig, count) as made,
        under_test(f"giving each of {count} guests a VF, and their traffic"),
        in_guests(rig, made, "most") as found,
    ):
        answers = answers_at_once(rig.wire, [node.ip for _, node in found])
    assert set(answers.values()) == {20}, f"answers to the partner, of 20: {answers}"
    evidence(f"{count} guests on {count} of at most {most} VFs, memory for {room}: all answered")


def available_mib(host: Host) -> int:
    """What the host could give to guests without swapping."""
    found = re.search(r"^MemAvailable: *(\d+) kB", host.read("/proc/meminfo").decode(), re.M)
    if found is None:
        raise LabError(f"{host.name}: /proc/meminfo does not tell what memory is available")
    return int(found[1]) // 1024
