"""Interrupts arrive by every way that the device has, where they should and as often as asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.guest.boot import Guest
from harness.hosts.base import Host
from harness.net.netdev import interface_with
from harness.paths.base import PathOptions
from harness.paths.passthrough import PassthroughPath
from harness.qemu.attachment import NicAttachment
from harness.qemu.config import DeployedImage
from harness.qualify.device.guestirq import ROOT_PORT, only_intx, rebind, unassign_msix, with_nobar
from harness.qualify.device.interrupts import interrupts, vectors
from harness.qualify.device.moderation import Burst, burst, moderated
from harness.qualify.rig.act import under_test
from harness.qualify.rig.links import bdf_of, pf_node
from harness.qualify.rig.node import READY_S, Node, ping
from harness.qualify.rig.rig import Rig, supported
from harness.qualify.rig.vf import for_guest, guest_node, vfs

PINGS = 50
GUEST_IP6 = "2001:2::2"

SWEEP = (20, 100, 500)
"""Microseconds between interrupts: 50,000, 10,000 and 2,000 a second at most."""

BURST, BURSTS = 0.05, 5
"""Seconds, and how many at each setting."""

TOLERANCE = 1.05
"""The 82576 counts microseconds by its own crystal, others in steps of a few."""


@pytest.mark.case("device", needs=("KVM", "IOMMU", "SR-IOV"))
def test_vf_in_guest(rig: Rig, evidence: Evidence) -> None:
    """A VF in a guest tells of its frames by MSI-X."""
    with (
        vfs(rig, 1) as (vf,),
        under_test("giving the VF to a guest, and its interrupts"),
        for_guest(rig, vf) as attachment,
        rig.booted("msix", (attachment,)) as guest,
    ):
        node = guest_node(guest, vf)
        node.address()
        node.await_carrier()
        evidence(assert_raised(rig, node, "MSI-X"))


@pytest.mark.case("device", needs=("KVM", "IOMMU"))
@pytest.mark.parametrize("kind", ["MSI-X", "MSI", "INTx"])
def test_pf_in_guest(rig: Rig, kind: str, evidence: Evidence) -> None:
    """The whole PF in a guest tells of its frames by each type of interrupt that it has."""
    with (
        under_test(f"giving the PF to a guest, and interrupts by {kind}"),
        pf_guest(rig, kind) as (guest, attachment),
    ):
        node = pf_in(guest, attachment, rig)
        bdf = bdf_of(node)
        if kind == "INTx":
            rebind(guest.host, bdf, attachment.driver, between=only_intx)
        elif kind == "MSI":
            rebind(guest.host, bdf, attachment.driver, between=unassign_msix)
        node = pf_in(guest, attachment, rig)
        node.address()
        node.await_carrier()
        evidence(assert_raised(rig, node, kind))


@pytest.mark.case("kernel", needs=("KVM", "IOMMU", "SR-IOV"))
def test_affinity_in_guest(rig: Rig, evidence: Evidence) -> None:
    """A VF's interrupts arrive at the virtual CPU that the guest has chosen for them."""
    with (
        vfs(rig, 1) as (vf,),
        for_guest(rig, vf) as attachment,
        rig.booted("affinity", (attachment,), vcpus=2) as guest,
    ):
        node = guest_node(guest, vf)
        node.address()
        node.await_carrier()
        numbers = vectors(guest.host, bdf_of(node))
        for cpu in (0, 1, 0):
            with under_test(f"having interrupts come to CPU {cpu}"):
                for number in numbers:
                    guest.host.write(f"/proc/irq/{number}/smp_affinity_list", str(cpu).encode())
                ping(rig.wire, node.ip, count=5)  # one that is under way still arrives where it was
                before = counts(guest.host, numbers)
                answered = ping(rig.wire, node.ip, count=PINGS)
                after = counts(guest.host, numbers)
            came = [now - then for now, then in zip(after, before, strict=True)]
            assert came[cpu] >= answered == PINGS, f"{answered} answers, interrupts by CPU: {came}"
            assert came[1 - cpu] == 0, f"CPU {cpu} was chosen, interrupts by CPU: {came}"
            evidence(f"CPU {cpu} chosen: {came[cpu]} interrupts there, none at the other")


@pytest.mark.case("device")
def test_moderation(rig: Rig, evidence: Evidence) -> None:
    """The port raises no more interrupts than rx-usecs allow, and fewer when they are long."""
    pf = pf_node(rig)
    frame = bytes.fromhex((pf.mac + rig.wire.mac).replace(":", "") + "88b5").ljust(60, b"\0")
    irqs = tuple(vectors(rig.host, rig.port.bdf))
    per_frame = []
    with moderated(rig, pf.interface), under_test("moderating interrupts"):
        for microseconds in SWEEP:
            setting = ("ethtool", "-C", pf.interface, "rx-usecs", str(microseconds))
            supported(rig.host, setting, "rx-usecs")
            burst(rig.wire, frame, BURST / 10, irqs)  # drivers write it with the next interrupt
            seen = median_burst(rig, frame, irqs)
            most = 1e6 / microseconds
            assert seen.interrupts <= seen.seconds * most * TOLERANCE + 2, (
                f"rx-usecs {microseconds} allow {most:.0f} interrupts a second, "
                f"there were {seen.rate:.0f}"
            )
            evidence(
                f"rx-usecs {microseconds}: {seen.rate:.0f} interrupts/s of {most:.0f} allowed, "
                f"{seen.per_frame:.3f} a frame, {seen.frames / seen.seconds:.0f} frames/s, "
                f"by the host's {rig.clock} clock"
            )
            per_frame.append(seen.per_frame)
    assert per_frame[-1] < per_frame[0], f"interrupts a frame: {per_frame}"


def median_burst(rig: Rig, frame: bytes, irqs: Sequence[int]) -> Burst:
    """The middle one of several by interrupts a frame: a busy host polls through one or the other
    of them (NAPI), whatever the port would have raised."""
    seen = [burst(rig.wire, frame, BURST, irqs) for _ in range(BURSTS)]
    return sorted(seen, key=lambda each: each.per_frame)[BURSTS // 2]


@contextmanager
def pf_guest(rig: Rig, kind: str) -> Iterator[tuple[Guest, NicAttachment]]:
    """A guest that has the PF. To do without MSI-X it needs a bus of its own, see guestirq."""
    options = PathOptions(vfio="bus=port0" if kind == "MSI" else "")
    image = rig.guest.image
    if kind == "MSI":
        if not isinstance(image, DeployedImage):
            raise MissingCapability("MSI without MSI-X", "the guest's kernel command line is fixed")
        rig = replace(rig, guest=replace(rig.guest, image=with_nobar(image)))
    with PassthroughPath().provision(rig.host, rig.ports, rig.journal, options) as attachment:
        port = ROOT_PORT if kind == "MSI" else ()
        attachment = replace(attachment, device_args=(*port, *attachment.device_args))
        with rig.booted(kind.lower(), (attachment,)) as guest:
            yield guest, attachment


def pf_in(guest: Guest, attachment: NicAttachment, rig: Rig) -> Node:
    """The PF in a guest, whatever its interface is called there."""
    interface = interface_with(guest.host, attachment.mac, seconds=READY_S)
    return Node(guest.host, "", interface, attachment.mac, rig.link.guest_ip, GUEST_IP6)


def assert_raised(rig: Rig, node: Node, kind: str) -> str:
    """The interface's interrupts are of this kind, and each frame that comes alone raises one."""
    found = vectors(node.host, bdf_of(node))
    assert set(found.values()) == {kind}, f"its interrupts are {found}"
    before = sum(counts(node.host, found))
    answered = ping(rig.wire, node.ip, count=PINGS)
    raised = sum(counts(node.host, found)) - before
    assert raised >= answered == PINGS, f"{raised} interrupts for {answered} of {PINGS} frames"
    return f"{len(found)} {kind} in use, {raised} interrupts for {PINGS} echo requests"


def counts(guest: Host, numbers: Iterable[int]) -> list[int]:
    """Of these interrupts together, how many each CPU has had."""
    message = interrupts(guest)
    return [sum(each) for each in zip(*(message[number].counts for number in numbers), strict=True)]
