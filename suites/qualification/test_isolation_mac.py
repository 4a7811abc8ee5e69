"""Whose word counts: the administrator's address for a VF, or the one that its driver has."""

from __future__ import annotations

import pytest

from fixtures.qualification.cases import Evidence
from harness.paths.parts import guest_mac
from harness.qualify.checks.isolation import heard, probe
from harness.qualify.rig.act import under_test
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import Vf, on_host


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_administrators_mac(rig: Rig, evidence: Evidence) -> None:
    """An address that the administrator sets takes the place of the one a VF's driver had."""
    port, given = rig.port, guest_mac("administrator")
    with port.free_of_vfs():
        port.set_numvfs(1)
        vf = Vf(0, port.vf_bdfs()[0], given)
        with on_host(rig, vf) as node:
            own = address(node)
        with under_test("giving the VF an address"):
            port.set_vf(0, "mac", given)
        with under_test("binding the VF again"), on_host(rig, vf) as node:
            now = address(node)
            sent = [probe(mac, rig.wire, mac) for mac in (own, given)]
            reached = set(heard(rig.host, sent, [node])[node])
    assert own != given
    assert now == given, f"its driver still has {now}, {given} was set"
    assert reached == {given}, f"it hears frames to {sorted(reached)}, {given} was set"
    evidence(f"by itself {own}, after the administrator's word {now}, and reached under it alone")


def address(node: Node) -> str:
    return node.run(("cat", f"/sys/class/net/{node.interface}/address")).text.strip()
