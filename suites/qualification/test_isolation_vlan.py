"""A port VLAN is a wall: the VF sees no tag and gets to no other VLAN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fixtures.qualification.cases import Evidence
from harness.qualify.checks.isolation import (
    BROADCAST,
    heard,
    pause_frame,
    pause_frames_counted,
    probe,
    vf_set,
)
from harness.qualify.rig.act import under_test
from harness.qualify.rig.frames import Frame
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import on_host, vfs

RED, BLUE, NOBODYS = 100, 200, 300

Trio = tuple[Node, Node, Node]


@pytest.fixture(scope="module")
def nodes(rig: Rig) -> Iterator[Trio]:
    """Two VFs in the red VLAN and one in the blue, set before a driver is bound to any."""
    with ExitStack() as stack:
        made = stack.enter_context(vfs(rig, 3))
        for vf, vid in zip(made, (RED, RED, BLUE), strict=True):
            stack.enter_context(vf_set(rig.port, vf.index, "vlan", str(vid)))
        first, second, third = (stack.enter_context(on_host(rig, vf)) for vf in made)
        yield first, second, third


def tag(frame: Frame) -> int | None:
    """The VLAN of a frame, whether the NIC has taken its tag off or not; None if it has none."""
    if frame.tag is None and frame.data[12:14] == b"\x81\x00":
        return int.from_bytes(frame.data[14:16], "big") & 0xFFF
    return None if frame.tag is None else frame.tag & 0xFFF


@pytest.mark.case("device", needs=("SR-IOV",))
def test_port_vlan_tags(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """Frames of a VF in a port VLAN have its tag on the wire, and reach the VF without it."""
    vf, _, _ = nodes
    wire = rig.wire
    sent = (probe("out", vf, wire.mac), probe("in", wire, vf.mac, vlan=RED))
    with under_test("frames of a port VLAN"):
        at = heard(rig.host, sent, promiscuous=[vf, wire])
    assert "out" in at[wire], "the VF's frame did not reach the wire"
    assert tag(at[wire]["out"]) == RED, f"it is in VLAN {tag(at[wire]['out'])} on the wire"
    assert "in" in at[vf], f"a frame in VLAN {RED} did not reach the VF"
    assert tag(at[vf]["in"]) is None, f"the VF sees a tag, VLAN {tag(at[vf]['in'])}"
    evidence(f"sent untagged, on the wire in VLAN {RED}; received untagged")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_port_vlan_filters(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A VF in a port VLAN receives nothing from the wire that is in another VLAN or in none."""
    wire = rig.wire
    sent = [
        probe(f"{'unicast' if to != BROADCAST else 'broadcast'} in {vid}", wire, to, vlan=vid)
        for to in (nodes[0].mac, BROADCAST)
        for vid in (RED, BLUE, NOBODYS, None)
    ]
    with under_test("frames in other VLANs"):
        at = heard(rig.host, sent, promiscuous=nodes)
    expected = ({f"unicast in {RED}", f"broadcast in {RED}"}, {f"broadcast in {RED}"})
    for node, wanted in zip(nodes, (*expected, {f"broadcast in {BLUE}"}), strict=True):
        assert set(at[node]) == wanted, f"VF {nodes.index(node)} heard {sorted(at[node])}"
    evidence(f"of 8 frames in VLAN {RED}, {BLUE}, {NOBODYS} and none: 2, 1 and 1, each its own")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_port_vlan_between_vfs(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """VFs in one port VLAN reach each other, and none in another, neither unicast nor broadcast."""
    red, neighbour, blue = nodes
    sent = (
        probe("to red", red, neighbour.mac),
        probe("to blue", red, blue.mac),
        probe("to all", red, BROADCAST),
        probe("blue to red", blue, neighbour.mac),
        probe("blue to all", blue, BROADCAST),
    )
    with under_test("frames between VFs"):
        at = heard(rig.host, sent, promiscuous=[neighbour, blue])
    assert set(at[neighbour]) == {"to red", "to all"}, f"red heard {sorted(at[neighbour])}"
    crossed = at[blue].keys() - {"blue to all"}  # whether a VF hears itself is another matter
    assert not crossed, f"blue heard {sorted(crossed)}"
    tags = {name: tag(frame) for name, frame in at[neighbour].items()}
    assert set(tags.values()) == {None}, f"frames of a neighbour come with a tag: {tags}"
    evidence("unicast and broadcast reach the neighbour, untagged; nothing crosses")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_port_vlan_own_tags(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """A VF in a port VLAN that tags its frames itself gets to no other VLAN by that."""
    red, _, blue = nodes
    wire = rig.wire
    sent = (
        probe("control", red, wire.mac),
        probe("to the wire", red, wire.mac, vlan=BLUE),
        probe("to blue", red, blue.mac, vlan=BLUE),
        probe("to all", red, BROADCAST, vlan=BLUE),
    )
    with under_test("frames that the VF has tagged"):
        at = heard(rig.host, sent, promiscuous=[wire, blue])
    assert "control" in at[wire], "the VF's untagged frame did not reach the wire either"
    assert not at[blue], f"VLAN {BLUE} heard {sorted(at[blue])}"
    outer = {name: tag(frame) for name, frame in at[wire].items()}
    escaped = {name: vid for name, vid in outer.items() if vid != RED}
    assert not escaped, f"on the wire they are in other VLANs than {RED}: {escaped}"
    evidence(f"of 3 frames tagged {BLUE} on the wire: {len(outer) - 1}, in VLAN {RED}; in blue: 0")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_port_vlan_pause_frames(rig: Rig, nodes: Trio, evidence: Evidence) -> None:
    """From a port VLAN no pause frame of a VF gets to the wire as one: it is dropped or tagged.

    Intel's remedy for NICs that do not drop them ("Configuring SR-IOV for improved network
    security" in the README of github.com/intel/ethernet-linux-igb).
    """
    vf, wire = nodes[0], rig.wire
    before = pause_frames_counted(wire)
    sent = (pause_frame(vf), probe("control", vf, wire.mac))
    with under_test("sending a pause frame"):
        at = heard(rig.host, sent, promiscuous=[wire])[wire]
    assert "control" in at, "the VF's ordinary frame did not reach the wire either"
    counted = pause_frames_counted(wire) - before
    assert not counted, f"the link partner counted {counted} pause frames"
    if "pause" in at:
        assert tag(at["pause"]) == RED, f"it is on the wire in VLAN {tag(at['pause'])}"
    evidence(f"the link partner saw it {f'in VLAN {RED}' if 'pause' in at else 'not at all'}")
