"""What one VF asks for, in whatever amount, is not at its neighbours' cost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import LabError
from harness.qualify.checks.isolation import (
    heard,
    pause_frame,
    pause_frames_counted,
    probe,
    vf_set,
)
from harness.qualify.checks.vf_contention import SharedPort, flood_mailbox, shared_port
from harness.qualify.rig.act import under_test
from harness.qualify.rig.node import Node, iperf3, iperf3_server, ping, reaches
from harness.qualify.rig.rig import Rig
from harness.workloads.iperf3_output import needed


@pytest.fixture(scope="module")
def ends(rig: Rig) -> Iterator[SharedPort]:
    with shared_port(rig) as made:
        yield made


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_mailbox_flood(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """While a VF floods its PF with requests, PF and other VFs go on, and so does it afterwards."""
    vf, wire, group = ends.greedy, rig.wire, "33:33:77:00:00:00"
    with under_test("a flood of requests to the PF"):
        flood = flood_mailbox(vf, wire.ip, beside=(ends.pf, ends.neighbour))
    for name, pings in zip(("PF", "other VF"), flood.pings, strict=True):
        few = f"the {name} could send only {pings.sent} pings in {flood.seconds:.3f} s"
        assert pings.received >= 3, few
        lost = f"{pings.received} of {pings.sent} pings of the {name} were answered"
        assert pings.lost <= 1, lost
    ends.all_answer()
    with under_test("joining a group after the flood"):
        vf.run(("ip", "maddress", "add", group, "dev", vf.interface))
        try:
            at = heard(rig.host, [probe("group", wire, group)], [vf])[vf]
        finally:
            vf.run(("ip", "maddress", "del", group, "dev", vf.interface))
    assert "group" in at, "afterwards the PF no longer serves the VF: it hears no multicast"
    answers = " and ".join(f"{pings.received} of {pings.sent}" for pings in flood.pings)
    evidence(
        f"{flood.changes} changes of the VF's multicast list in {flood.seconds:.3f} s; meanwhile "
        f"{answers} pings of PF and other VF answered"
    )


LIMIT, OFFERED = 100, 250
"""Mbit/s: a tenth and a quarter of the slowest link of these models."""


@pytest.mark.case("device", needs=("SR-IOV",))
def test_rate_limit(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """A VF sends no faster than its max_tx_rate."""
    with iperf3_server(rig.wire, rig.wire.ip):
        free = rate(ends.greedy, rig.wire.ip)
        if free < 0.9 * OFFERED:
            raise LabError(f"without a limit the VF sends {free:.0f} of {OFFERED} Mbit/s")
        with (
            under_test("limiting the VF's rate"),
            vf_set(rig.port, 0, "max_tx_rate", str(LIMIT)),
        ):
            assert rig.port.vf_settings()[0].rate["max_tx"] == LIMIT
            limited = rate(ends.greedy, rig.wire.ip)
    assert limited <= 1.1 * LIMIT, f"limited to {LIMIT} Mbit/s it sends {limited:.0f}"
    evidence(f"{free:.0f} Mbit/s without, {limited:.0f} Mbit/s with a limit of {LIMIT}")


def rate(source: Node, address: str) -> float:
    """Mbit/s of TCP payload as received in a second, of OFFERED."""
    end = iperf3(source, address, "--time", "1", "--bitrate", f"{OFFERED}M")
    return needed(end.sum_received, "sum_received").bits_per_second / 1e6


@pytest.mark.case("driver", needs=("SR-IOV",))
def test_link_state(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """The administrator takes a VF's link away and gives it back, and no other VF's with it."""
    vf, wire = ends.greedy, rig.wire
    with under_test("taking the VF's link away"), vf_set(rig.port, 0, "state", "disable"):
        assert ping(vf, wire.ip, count=2) == 0, "a VF whose link is disabled has pings answered"
        assert reaches(ends.neighbour, wire.ip), "another VF's link is gone as well"
        rig.port.set_vf(0, "state", "enable")
        vf.await_carrier()
        assert reaches(vf, wire.ip), "enabled again, the VF gets no answers"
    with under_test("having the VF's link follow the port's again"):
        vf.await_carrier()
    assert reaches(vf, wire.ip), "on auto again, the VF gets no answers"
    evidence("disabled, enabled, auto: none, 3 and 3 of 3 pings answered")


@pytest.mark.case("device", needs=("SR-IOV",))
def test_pause_frames(rig: Rig, ends: SharedPort, evidence: Evidence) -> None:
    """Pause frames that a VF sends do not reach the wire, where they would stop the whole port's
    traffic.

    Smolyar, Ben-Yehuda, Tsafrir: Securing Self-Virtualizing Ethernet Devices, USENIX Security 2015;
    CVE-2015-1142857. NICs of that time let them through, so this fails on many that are sold; a
    port VLAN helps (the case port-vlan-pause-frames), or a partner that ignores pause frames.
    """
    vf, wire = ends.greedy, rig.wire
    before = pause_frames_counted(wire)
    sent = (pause_frame(vf), probe("control", vf, wire.mac))
    with under_test("sending a pause frame"):
        at = heard(rig.host, sent, promiscuous=[wire])[wire]
    assert "control" in at, "the VF's ordinary frame did not reach the wire either"
    counted = pause_frames_counted(wire) - before
    assert "pause" not in at, "the link partner heard the VF's pause frame"
    assert not counted, f"the link partner's NIC counted {counted} pause frames"
    evidence("an ordinary frame reached the link partner, a pause frame did not")
