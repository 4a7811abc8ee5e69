"""A VF can be nobody else on the link, and hears what is meant for it and nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.deadline import Deadline
from harness.core.errors import CommandFailed, DeadlineExpired
from harness.qualify.checks.isolation import STRANGER, heard, probe, spoof_events, vf_set
from harness.qualify.rig.act import under_test
from harness.qualify.rig.links import pf_node
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import on_host, vfs

Trio = tuple[Node, Node, Node]

WATCHDOG = 10.0
"""Seconds; the PF's driver looks for spoofed frames every 2 (igb_watchdog_task)."""


@pytest.fixture(scope="module")
def nodes(rig: Rig) -> Iterator[Trio]:
    """Three VFs in use on the host, without trust, as VFs are unless their PF is told otherwise."""
    with ExitStack() as stack:
        first, second, third = (
            stack.enter_context(on_host(rig, vf)) for vf in stack.enter_context(vfs(rig, 3))
        )
        yield first, second, third


@pytest.mark.case("device", needs=("SR-IOV",))
def test_spoofed_source(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A frame with a source address that is not the VF's own is dropped, and that is counted."""
    vf, wire = nodes[0], rig.wire
    before = spoof_events(rig)
    sent = (probe("own", vf, wire.mac), probe("spoofed", vf, wire.mac, source=STRANGER))
    with under_test("checking a VF's source address"), vf_set(rig.port, 0, "spoofchk", "on"):
        at = heard(rig.host, sent, [wire])[wire]
    assert "own" in at, "the VF's own frame did not reach the wire either"
    assert "spoofed" not in at, f"a frame from {STRANGER} went from the VF to the wire"
    with suppress(DeadlineExpired):
        Deadline(WATCHDOG, "a spoof event").poll(lambda: spoof_events(rig) > before, interval=0.5)
    counted = spoof_events(rig) - before
    assert counted, "it was dropped, but neither log nor counters of the PF tell of it"
    evidence(f"dropped; {counted} more in the PF's log and counters")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_spoofing_allowed(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """With spoof checking off a VF may send from any source address."""
    vf, wire = nodes[0], rig.wire
    with under_test("switching spoof checking off"), vf_set(rig.port, 0, "spoofchk", "off"):
        assert rig.port.vf_settings()[0].spoofchk is False
        at = heard(rig.host, [probe("other", vf, wire.mac, source=STRANGER)], [wire])[wire]
    assert "other" in at, f"a frame from {STRANGER} did not reach the wire"
    evidence(f"a frame from {STRANGER} reached the wire")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_spoofed_vlan(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A frame with the tag of a VLAN that the VF has not joined is dropped."""
    vf, wire, joined, other = nodes[0], rig.wire, 42, 43
    tagged = f"{vf.interface}.{joined}"
    kind = ("type", "vlan", "id", str(joined))
    with under_test("checking the VLAN of a VF's frames"):
        vf.run(("ip", "link", "add", "link", vf.interface, "name", tagged, *kind))
        try:
            sent = [probe(f"VLAN {vid}", vf, wire.mac, vlan=vid) for vid in (joined, other)]
            with vf_set(rig.port, 0, "spoofchk", "on"):
                at = heard(rig.host, sent, promiscuous=[wire])[wire]
        finally:
            vf.run(("ip", "link", "del", tagged))
    assert f"VLAN {joined}" in at, f"a frame in VLAN {joined}, which the VF joined, was dropped too"
    assert f"VLAN {other}" not in at, f"a frame in VLAN {other} went from the VF to the wire"
    evidence(f"in VLAN {joined} sent, in VLAN {other} dropped")


@pytest.mark.case("device", needs=("SR-IOV",))
@pytest.mark.parametrize("listening", ["plainly", "promiscuously"])
def test_unicast_of_others(rig: Rig, nodes: Trio, listening: str, evidence: Evidence) -> None:
    """A VF without trust hears no unicast of another, even if it listens promiscuously."""
    eavesdropper, receiver, sender = nodes
    wire, host = rig.wire, rig.host
    pf = pf_node(rig)
    assert rig.port.vf_settings()[0].trust is not True
    if listening == "promiscuously":
        allmulti = ("ip", "link", "set", eavesdropper.interface, "allmulticast")
        eavesdropper.run((*allmulti, "on"))
    try:
        with under_test("unicast between others"):
            at = heard(
                host,
                [
                    probe("wire to VF", wire, receiver.mac),
                    probe("VF to VF", sender, receiver.mac),
                    probe("PF to VF", pf, receiver.mac),
                    probe("VF to wire", receiver, wire.mac),
                    probe("wire to nobody", wire, STRANGER),
                    probe("VF to nobody", sender, STRANGER),
                    probe("its own", wire, eavesdropper.mac),
                ],
                [receiver, wire, *([eavesdropper] if listening == "plainly" else [])],
                [eavesdropper] if listening == "promiscuously" else [],
            )
    finally:
        if listening == "promiscuously":
            eavesdropper.run((*allmulti, "off"))
    assert {"wire to VF", "VF to VF", "PF to VF"} <= set(at[receiver]), (
        f"of its own frames the receiver heard only {sorted(at[receiver])}"
    )
    assert "VF to wire" in at[wire], "the VF's frame did not reach the wire"
    assert set(at[eavesdropper]) == {"its own"}, f"it heard {sorted(at[eavesdropper])}"
    evidence("of 6 unicast frames between others it heard none, of 1 to itself 1")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_mac_change_refused(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A VF without trust cannot take another address than the one its administrator set."""
    vf = nodes[0]
    with under_test("asking for another address"):
        answer = change_address(vf, STRANGER)
        try:
            heard_of = addresses_heard(rig, vf, STRANGER)
        finally:
            if not answer:
                change_address(vf, vf.mac)
    assert heard_of == {vf.mac}, f"after asking for {STRANGER} it hears frames to {heard_of}"
    assert rig.port.vf_settings()[0].address == vf.mac
    evidence(f"asked for {STRANGER}: {answer or 'accepted by the VF driver, without effect'}")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_mac_change_trusted(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A trusted VF may change its address, and then receives and sends under the new one."""
    vf, wire = nodes[0], rig.wire
    with under_test("changing a trusted VF's address"), vf_set(rig.port, 0, "trust", "on"):
        answer = change_address(vf, STRANGER)
        try:
            assert not answer, f"asked for {STRANGER} the trusted VF is told: {answer}"
            assert STRANGER in addresses_heard(rig, vf, STRANGER)
            sent = [probe("new", vf, wire.mac, source=STRANGER)]
            assert "new" in heard(rig.host, sent, [wire])[wire], "it cannot send under it"
        finally:
            back = change_address(vf, vf.mac)
    assert not back, f"asked for its own address {vf.mac} again the trusted VF is told: {back}"
    assert addresses_heard(rig, vf, STRANGER) == {vf.mac}
    evidence(f"{vf.mac}, then {STRANGER}, then {vf.mac}")


def change_address(node: Node, mac: str) -> str:
    """What the VF's driver says against it, "" if it agrees."""
    try:
        node.run(("ip", "link", "set", node.interface, "address", mac))
    except CommandFailed as error:
        return error.stderr.strip()
    return ""


def addresses_heard(rig: Rig, vf: Node, *others: str) -> set[str]:
    """Under which of its own and these addresses the VF is reached from the wire."""
    sent = [probe(mac, rig.wire, mac) for mac in (vf.mac, *others)]
    return set(heard(rig.host, sent, [vf])[vf])
