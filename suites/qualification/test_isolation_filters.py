"""Filters are few and shared: a VF that asks for more than there are takes none from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from fixtures.qualification.cases import Evidence
from harness.qualify.checks.isolation import heard, probe, vf_set
from harness.qualify.checks.vf_contention import SharedPort, shared_port
from harness.qualify.rig.act import under_test
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Rig

MANY = 40
"""More filters than a PF of these models has for one VF: the 82576 has 24 addresses and 32 VLANs
for all its functions (RAR entries and E1000_VLVF_ARRAY_SIZE in igb), igbvf asks for 3 addresses."""


@pytest.fixture(scope="module")
def ends(rig: Rig) -> Iterator[SharedPort]:
    with shared_port(rig) as made:
        yield made


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_vlan_filters(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """A VF that joins more VLANs than there are filters takes them from no other, and has as many
    again once it has left them."""
    vf, wire = ends.greedy, rig.wire
    with under_test("joining many VLANs"), vlans(vf) as (_, received):
        first = received(wire)
        ends.all_answer()
    with under_test("joining them again"), vlans(vf) as (_, received):
        second = received(wire)
    assert first, "the VF receives in none of the VLANs that it joined"
    assert second == first, f"joined again, it receives in {len(second)} instead of {len(first)}"
    evidence(f"of {MANY} VLANs {len(first)} received, after leaving and joining them again as well")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_vlan_refusal(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """A VF that joins more VLANs than there are filters is told which of them it will not get."""
    with under_test("joining many VLANs"), vlans(ends.greedy) as (granted, received):
        missing = granted - received(rig.wire)
    assert not missing, f"{len(missing)} of {MANY} were granted, but frames in them do not arrive"
    evidence(f"of {MANY} VLANs {len(granted)} granted; frames arrive in each")


Received = Callable[[Node], set[int]]


@contextmanager
def vlans(vf: Node) -> Iterator[tuple[set[int], Received]]:
    """MANY VLANs upon the VF: those that its driver granted, and a look at those in which frames
    from a node arrive."""
    wanted = range(1001, 1001 + MANY)
    kind = f"link add link {vf.interface} name vlan"

    def received(source: Node) -> set[int]:
        sent = [probe(str(vid), source, vf.mac, vlan=vid) for vid in wanted]
        return {int(name) for name in heard(vf.host, sent, [vf])[vf]}

    try:
        batch(vf, "ip", [f"{kind}{vid} type vlan id {vid}" for vid in wanted])
        there = vf.run(("ls", "/sys/class/net")).text.split()
        yield {vid for vid in wanted if f"vlan{vid}" in there}, received
    finally:
        batch(vf, "ip", [f"link del vlan{vid}" for vid in wanted])


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_address_given_back(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """A trusted VF hears frames to a further address while it asks for them, and no longer."""
    vf, address = ends.greedy, "02:6e:00:5f:02:00"
    sent = [probe(mac, rig.wire, mac) for mac in (vf.mac, address)]
    with under_test("having a further address"), vf_set(rig.port, 0, "trust", "on"):
        with filters(vf, [address]):
            during = heard(rig.host, sent, [vf])[vf]
        after = heard(rig.host, sent, [vf])[vf]
    assert set(during) == {vf.mac, address}, f"with a further address it hears {sorted(during)}"
    assert set(after) == {vf.mac}, f"the address given back, it still hears {sorted(after)}"
    evidence("heard while it was asked for, not afterwards")


# Last, since a PF driver that does not free filters has none left afterwards.
@pytest.mark.case("driver", needs=("SR-IOV",))
def test_address_filters(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """A VF that asks for more addresses than there are filters gets none of its neighbour's frames,
    and all others go on as before."""
    vf, neighbour = ends.greedy, ends.neighbour
    addresses = [f"02:6e:00:5f:01:{number:02x}" for number in range(MANY)]
    with (
        under_test("asking for many addresses"),
        vf_set(rig.port, 0, "trust", "on"),
        filters(vf, addresses),
    ):
        sent = [probe(mac, rig.wire, mac) for mac in (vf.mac, neighbour.mac, *addresses)]
        at = heard(rig.host, sent, [vf, neighbour])
        ends.all_answer()
    assert vf.mac in at[vf], "the VF no longer hears frames to its own address"
    assert neighbour.mac not in at[vf], "the VF hears frames to its neighbour"
    assert set(at[neighbour]) == {neighbour.mac}, f"the neighbour hears {sorted(at[neighbour])}"
    evidence(f"of {MANY} further addresses {len(at[vf]) - 1} are received, by the VF alone")


@contextmanager
def filters(vf: Node, addresses: Sequence[str]) -> Iterator[None]:
    """Further addresses for the VF while it lasts, as far as its driver has filters for them: the
    kernel keeps the list and tells of no surplus."""

    def change(action: str) -> None:
        lines = [f"fdb {action} {mac} dev {vf.interface} self permanent" for mac in addresses]
        batch(vf, "bridge", lines)

    change("add")
    try:
        yield
    finally:
        change("del")


def batch(node: Node, program: str, lines: Sequence[str]) -> None:
    """All of these commands of `ip` or `bridge`, those that are refused among them."""
    argv = node.argv((program, "-force", "-batch", "-"))
    node.host.run(argv, stdin="\n".join(lines).encode(), check=False)
