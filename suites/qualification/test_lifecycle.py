"""VFs come, go and come back, whatever happens to those who use them."""

from __future__ import annotations

import pytest

from fixtures.cases import Evidence
from harness.errors import LabError
from harness.pci.address import Address
from harness.qualify.rig import Rig
from harness.qualify.vf import on_host, vfs


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_most_vfs(rig: Rig, evidence: Evidence) -> None:
    """None, one, as many as the driver offers, none again: each as sriov_numvfs was written."""
    port = rig.port
    most = int(port.device.attribute("sriov_totalvfs"))
    with port.free_of_vfs():
        for count in (1, 0, most, 0):
            port.set_numvfs(count)
            assert port.numvfs == count
            assert len(set(port.vf_bdfs())) == count
    evidence(f"0, 1, 0, {most}, 0 VFs")


@pytest.mark.case("kernel", needs=("SR-IOV",))
@pytest.mark.parametrize("count", ["one too many", "-1", "unzeroed change"])
def test_refused_counts(rig: Rig, count: str, evidence: Evidence) -> None:
    """A count that cannot be is refused and changes nothing."""
    port = rig.port
    most = int(port.device.attribute("sriov_totalvfs"))
    wanted = {"one too many": most + 1, "-1": -1, "unzeroed change": 2}[count]
    with port.free_of_vfs():
        if count == "unzeroed change":
            port.set_numvfs(1)
        before = port.numvfs
        with pytest.raises(LabError) as refusal:
            port.set_numvfs(wanted)
        assert port.numvfs == before
    evidence(f"{wanted} with {before} VFs: {refusal.value.message.rpartition(': ')[2]}")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_addresses_follow_offset_and_stride(rig: Rig, evidence: Evidence) -> None:
    """Each VF has the address that First VF Offset and VF Stride of its PF give it."""
    port = rig.port
    pf = Address.parse(port.bdf)
    offset, stride = map(int, port.device.attributes("sriov_offset", "sriov_stride"))
    with vfs(rig, int(port.device.attribute("sriov_totalvfs"))) as made:
        expected = [str(pf.vf(vf.index, offset=offset, stride=stride)) for vf in made]
        assert [vf.bdf for vf in made] == expected
    evidence(f"offset {offset}, stride {stride}: {', '.join(expected)}")


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_rebinding(rig: Rig, evidence: Evidence) -> None:
    """A VF is bound to its driver and unbound ten times, and carries traffic each time."""
    from harness.qualify.node import ping

    with vfs(rig, 1) as (vf,):
        for turn in range(10):
            with on_host(rig, vf) as node:
                assert ping(node, rig.wire.ip, count=3) == 3, f"no answer after binding {turn + 1}"
    evidence("10 times bound, addressed, answered, unbound")
