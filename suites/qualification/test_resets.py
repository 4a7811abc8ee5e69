"""After a reset and after the link was lost everything is as before, and nobody else noticed."""

from __future__ import annotations

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.core.units import is_virtual
from harness.pci.group import assign_to_vfio
from harness.qualify.faults.recovery import beside, cut_off, link_back, recovery
from harness.qualify.faults.reset import flr_only, insist_on_flr, reset_between_drivers
from harness.qualify.rig.act import under_test
from harness.qualify.rig.frames import Sent, exchange, marked
from harness.qualify.rig.links import bdf_of, link_mtu, pf_node, up_afterwards
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig, supported
from harness.qualify.rig.settings import mtu
from harness.qualify.rig.vf import for_guest, guest_node, on_host, vfs

FLAPS = 3
MAY_LOSE = 2
"""Echo requests, of 100 a second, that a neighbour may lose: 20 ms of quiet."""

CALM = "5"
"""Seconds between two changes of the link. Most drivers look at theirs every 2 s; and a VF that
asks within 2 s after its last reset or refusal gets no answer from the PF (igb_rcv_msg_from_vf in
igb_main.c), for which its driver spins a second: longer than an emulated CPU should be deaf."""

VLAN, JUMBO, PAYLOAD = 100, 9000, 4000

EVERYBODY, EXPERIMENTAL = "ff:ff:ff:ff:ff:ff", 0x88B5
"""Broadcast, and the EtherType that IEEE 802 leaves for local experiments."""


@pytest.mark.case("device", needs=("SR-IOV",))
def test_vf_flr(rig: Rig, evidence: Evidence) -> None:
    """A VF that is reset by FLR keeps what the PF was told of it and carries traffic again."""
    with vfs(rig, 1) as (vf,):
        with on_host(rig, vf):
            before = rig.port.vf_settings()
        with flr_only(rig.host, vf.bdf, rig.journal) as reset, under_test("the FLR"):
            rig.host.run(reset)
        with under_test("using the VF after the FLR"), on_host(rig, vf) as node:
            assert recovery(node, rig.wire.ip) is not None, "after the FLR the VF never answered"
            assert rig.port.vf_settings() == before
    evidence(f"{vf.bdf} reset, bound again, answers as {vf.mac}")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_vf_flr_in_use(rig: Rig, evidence: Evidence) -> None:
    """A VF that its driver uses is reset by FLR, and the driver gets it going again."""
    if is_virtual(rig.clock):
        # In the reset handler of igbvf (netdev.c) a message to the PF runs into its timeout, a
        # second of udelay with softirqs off (mbx.c), since the PF's driver does not answer a VF
        # within 2 s of its reset (igb_rcv_msg_from_vf). The connection to the host would be lost.
        unmet = "a CPU that counts instructions would be deaf for a minute"
        raise MissingCapability("the world's clock", unmet)
    with (
        vfs(rig, 1) as (vf,),
        on_host(rig, vf) as node,
        flr_only(rig.host, vf.bdf, rig.journal) as reset,
        under_test("an FLR of a VF in use"),
    ):
        seconds = recovery(node, rig.wire.ip, reset)
        assert seconds is not None, "after the FLR the VF never answered again"
    evidence(f"answers again after {seconds:.2f} s, {the_clock(rig)}")


@pytest.mark.case("device", needs=("SR-IOV", "IOMMU", "KVM"))
def test_vf_flr_in_guest(rig: Rig, evidence: Evidence) -> None:
    """A guest resets its VF by FLR, which vfio hands on to the device, and uses it again."""
    with (
        vfs(rig, 1) as (vf,),
        for_guest(rig, vf) as attachment,
        rig.booted("resets", (attachment,)) as guest,
    ):
        node = guest_node(guest, vf)
        insist_on_flr(guest.host, bdf_of(node))
        reset = reset_between_drivers(node, bdf_of(node))
        with under_test("an FLR in the guest"):
            seconds = recovery(node, rig.wire.ip, reset)
        assert seconds is not None, "after the FLR the guest's VF never answered"
    evidence(
        f"taken from its driver, reset, given back, answers: {seconds:.2f} s, the guest's clock"
    )


@pytest.mark.case("device", needs=("SR-IOV",))
def test_neighbour_of_vf_flr(rig: Rig, evidence: Evidence) -> None:
    """A VF carries traffic without a gap while the VF beside it is reset by FLR."""
    with (
        vfs(rig, 2) as (vf, neighbour),
        on_host(rig, neighbour) as node,
        flr_only(rig.host, vf.bdf, rig.journal) as reset,
        under_test("traffic beside an FLR"),
    ):
        answers = beside(node, rig.wire.ip, reset)
    assert answers.lost <= MAY_LOSE, f"{answers.lost} of {answers.sent} echo requests were lost"
    evidence(f"{answers.received} of {answers.sent} echo requests answered, 100 a second")


@pytest.mark.case("device", needs=("IOMMU",))
def test_pf_flr(rig: Rig, evidence: Evidence) -> None:
    """A PF in nobody's use is reset by FLR, its driver takes it up again and frames pass."""
    bdf = rig.port.bdf
    with under_test("an FLR of the PF, and its driver's taking it up"):
        with (
            assign_to_vfio(rig.host, bdf, rig.journal),
            flr_only(rig.host, bdf, rig.journal) as flr,
        ):
            rig.host.run(flr)
        pf = pf_node(rig)
        assert link_back(pf) is not None, "after the FLR the PF never had a link again"
        assert_frames_pass(rig, pf, "after the FLR")
    evidence(f"{bdf} reset, back at its driver, frames pass both ways")


@pytest.mark.case("driver")
def test_ethtool_reset(rig: Rig, evidence: Evidence) -> None:
    """The PF's driver resets its port when it is asked to, and frames pass again."""
    pf = pf_node(rig)
    with under_test("a reset of the port by its driver"):
        supported(rig.host, ("ethtool", "--reset", pf.interface, "dedicated"), "ethtool --reset")
        assert link_back(pf) is not None, "after the reset the PF never had a link again"
        assert_frames_pass(rig, pf, "after the reset")
    evidence("the link is back, frames pass both ways")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_pf_down_and_up(rig: Rig, evidence: Evidence) -> None:
    """When the PF is set down its VF loses the carrier, and has it back with traffic after."""
    pf = pf_node(rig)
    set_pf = ("ip", "link", "set", pf.interface)
    with vfs(rig, 1) as (vf,), on_host(rig, vf) as node, up_afterwards(rig, pf):
        lost, back = [], []
        for turn in range(1, FLAPS + 1):
            calm(rig)
            with under_test("setting the PF down"):
                gone = cut_off(node, (*set_pf, "down"))
            assert gone is not None, f"the VF kept its carrier without its PF, turn {turn}"
            calm(rig)
            with under_test("setting the PF up"):
                again = recovery(node, rig.wire.ip, (*set_pf, "up"))
            assert again is not None, f"the VF never answered again, turn {turn}"
            lost.append(gone)
            back.append(again)
    evidence(f"{flaps(lost, back)}, {the_clock(rig)}")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_link_lost_and_back(rig: Rig, evidence: Evidence) -> None:
    """When the partner's port goes down PF and VF lose the carrier, and have it back after."""
    wire, pf = rig.wire, pf_node(rig)
    set_wire = ("ip", "-n", wire.netns, "link", "set", wire.interface)
    with vfs(rig, 1) as (vf,), on_host(rig, vf) as node, up_afterwards(rig, wire):
        lost, back = [], []
        for turn in range(1, FLAPS + 1):
            calm(rig)
            gone = cut_off(pf, (*set_wire, "down"), limit_s=5)
            if gone is None:
                raise MissingCapability(
                    "a partner that drops the link when set down",
                    f"{pf.interface} kept its carrier while {wire.place} was down",
                )
            with under_test("losing the link"):
                assert cut_off(node) is not None, f"the VF kept its carrier, turn {turn}"
            with under_test("having the link back"):
                again = recovery(node, wire.ip, (*set_wire, "up"))
            assert again is not None, f"the VF never answered again, turn {turn}"
            lost.append(gone)
            back.append(again)
    evidence(f"{flaps(lost, back)}, {the_clock(rig)}")


@pytest.mark.case("driver", needs=("SR-IOV",))
@pytest.mark.parametrize("disturbance", ["PF down and up", "PF renegotiates"])
def test_settings_survive(rig: Rig, disturbance: str, evidence: Evidence) -> None:
    """Address, port VLAN and MTU of a VF stay, in name and in effect, when its PF is disturbed."""
    pf, wire = pf_node(rig), rig.wire
    with vfs(rig, 1) as (vf,), mtu(rig, pf, JUMBO), mtu(rig, wire, JUMBO):
        rig.port.set_vf(vf.index, "vlan", str(VLAN))
        with on_host(rig, vf) as node:
            node.run(("ip", "link", "set", node.interface, "mtu", str(JUMBO)))
            node.await_carrier()
            before = rig.port.vf_settings()
            assert_frames_pass(rig, node, "before", vlan=VLAN, size=PAYLOAD)
            calm(rig)
            with under_test(f"keeping settings ({disturbance})"):
                rig.host.run(disturb(disturbance, pf))
                calm(rig)
                assert link_back(node) is not None, "the VF never had its carrier back"
                assert rig.port.vf_settings() == before
                assert link_mtu(node) == JUMBO
                assert_frames_pass(rig, node, "afterwards", vlan=VLAN, size=PAYLOAD)
    evidence(f"{vf.mac}, VLAN {VLAN}, frames of {PAYLOAD} bytes as before")


def calm(rig: Rig) -> None:
    """Let everybody see what became of the link before it changes again."""
    rig.host.run(("sleep", CALM))


def disturb(disturbance: str, pf: Node) -> tuple[str, ...]:
    """argv of what happens to the PF."""
    down_and_up = 'ip link set "$1" down && sleep "$2" && ip link set "$1" up'
    return {
        "PF down and up": ("sh", "-c", down_and_up, "sh", pf.interface, CALM),
        "PF renegotiates": ("ethtool", "-r", pf.interface),
    }[disturbance]


def assert_frames_pass(
    rig: Rig, node: Node, when: str, *, vlan: int | None = None, size: int = 46
) -> None:
    """A broadcast frame goes each way, on the wire with the tag of `vlan` if there is one."""
    from scapy.layers.l2 import Dot1Q, Ether

    wire = rig.wire
    away, here = (f"nicproof {when}, {way}".encode() for way in ("away", "here"))
    sent = Ether(dst=EVERYBODY, src=node.mac, type=EXPERIMENTAL) / away.ljust(size, b".")
    back = Ether(dst=EVERYBODY, src=wire.mac, type=0x8100 if vlan else EXPERIMENTAL)
    tag = Dot1Q(vlan=vlan, type=EXPERIMENTAL) if vlan else b""
    heard = exchange(
        rig.host,
        [
            Sent(node.place, bytes(sent)),
            Sent(wire.place, bytes(back) + bytes(tag) + here.ljust(size, b".")),
        ],
        listen=[node.place],
        promiscuous=[wire.place],
    )
    tags = [frame.tag for frame in marked(heard[wire.place], away)]
    assert tags == [vlan], f"{when}: of one frame sent {len(tags)} were on the wire, tags {tags}"
    came = len(marked(heard[node.place], here))
    assert came == 1, f"{when}: {came} frames arrived of one sent to {node.place}"


def the_clock(rig: Rig) -> str:
    """Whose seconds are told."""
    return f"by the host's {rig.clock} clock"


def flaps(lost: list[float], back: list[float]) -> str:
    """How long it took, in words."""
    return (
        f"{len(lost)} times; carrier lost within {max(lost):.2f} s, traffic again after "
        f"{min(back):.2f} to {max(back):.2f} s"
    )
