"""The NIC's clock tells time, obeys its owner and nobody else, and stamps frames."""

from __future__ import annotations

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.qualify.device.clock import (
    SCALE,
    Clock,
    clock_of,
    rate,
    stamped,
    stamping,
    stamping_refused,
)
from harness.qualify.rig.act import under_test
from harness.qualify.rig.links import pf_node
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import on_host, vfs

SECOND = 1_000_000_000

TRUE_PPB = 200_000
"""Two free clocks may differ by so much: each is within 100 ppm (IEEE 1588-2008, annex D to F)."""

PTP_GROUP = "01:1b:19:00:00:00"

SLEW_PPB = 1_000_000
SLACK_NS = 50_000
"""What the steps themselves may take beyond the window of a reading: a few system calls."""


@pytest.fixture(scope="module")
def clock(rig: Rig) -> Clock:
    """The PF's clock."""
    found = clock_of(rig.host, rig.port.bdf)
    if found is None:
        raise MissingCapability("PTP", f"{rig.port.bdf} has no clock of its own")
    return found


@pytest.mark.case("device", needs=("PTP",))
def test_clock_runs(clock: Clock, evidence: Evidence) -> None:
    """The clock runs forward, at the pace of the host's."""
    with under_test("reading the clock"):
        first, _, last = clock.perform(("read",), ("wait", 1), ("read",))
    pace, doubt = rate(first, last)
    assert abs(pace) <= TRUE_PPB + doubt, f"it is off by {pace:.0f} ppb"
    evidence(f"{pace:+.0f} ppb to the host's clock, known to {doubt:.0f}")


@pytest.mark.case("driver", needs=("PTP",))
@pytest.mark.parametrize("step", [3 * SECOND, -2 * SECOND, 1_000_000], ids=["3 s", "-2 s", "1 ms"])
def test_step(rig: Rig, clock: Clock, step: int, evidence: Evidence) -> None:
    """The clock is stepped by as much as it was told, forward or back."""
    with under_test("stepping the clock"), clock.borrowed(rig.journal):
        first, last = clock.perform(("read",), ("step", step))
    came = last.offset - first.offset
    allowed = first.window + last.window + SLACK_NS
    assert abs(came - step) <= allowed, f"stepped by {came:.0f} ns instead of {step}"
    evidence(f"asked for {step} ns, came to {came:.0f}, known to {first.window + last.window}")


@pytest.mark.case("driver", needs=("PTP",))
def test_set(rig: Rig, clock: Clock, evidence: Evidence) -> None:
    """The clock shows the time to which it is set."""
    wanted = 1_000_000_000 * SECOND  # 2001-09-09
    with under_test("setting the clock"), clock.borrowed(rig.journal):
        (last,) = clock.perform(("set", wanted))
    late = last.clock - wanted
    assert 0 <= late <= SECOND // 10, f"it is {late} ns off"
    evidence(f"set to {wanted // SECOND} s, read {late} ns later")


@pytest.mark.case("device", needs=("PTP",))
@pytest.mark.parametrize("sign", [1, -1], ids=["faster", "slower"])
def test_slew(rig: Rig, clock: Clock, sign: int, evidence: Evidence) -> None:
    """The clock runs faster or slower by as much as it was told."""
    wanted = sign * min(SLEW_PPB, clock.most)
    with under_test("slewing the clock"), clock.borrowed(rig.journal):
        first, own, start, end = clock.perform(
            ("slew", 0), ("wait", 1), ("slew", int(wanted * SCALE)), ("wait", 1)
        )
    (free, doubt), (slewed, more) = rate(first, own), rate(start, end)
    came, known = slewed - free, doubt + more
    assert abs(came - wanted) <= known + abs(wanted) / 100, f"{came:.0f} ppb instead of {wanted}"
    evidence(f"asked for {wanted} ppb, came to {came:.0f}, known to {known:.0f}")


@pytest.mark.case("device", needs=("PTP",))
def test_slew_without_step(rig: Rig, clock: Clock, evidence: Evidence) -> None:
    """The clock goes on from where it is when its pace is changed."""
    wanted = min(SLEW_PPB, clock.most)
    with under_test("slewing the clock"), clock.borrowed(rig.journal):
        first, last = clock.perform(("slew", 0), ("slew", int(wanted * SCALE)))
    jump = last.offset - first.offset
    allowed = first.window + last.window + SLACK_NS
    assert abs(jump) <= allowed, f"it jumped by {jump:.0f} ns"
    evidence(f"{jump:.0f} ns, known to {first.window + last.window}")


@pytest.mark.case("device", needs=("PTP",))
@pytest.mark.parametrize("way", ["sent", "received"])
def test_hardware_stamps(rig: Rig, clock: Clock, way: str, evidence: Evidence) -> None:
    """The clock stamps a PTP message while it is on its way."""
    node = pf_node(rig)
    sender = rig.wire if way == "received" else None
    message = sync_message((sender or node).mac, node.mac if sender else PTP_GROUP)
    with under_test(f"stamping a message that is {way}"), stamping(node, rig.journal):
        seen = stamped(node, clock, message, sender)
    assert seen.stamp is not None, "the NIC did not stamp it"
    assert seen.fits, f"stamped {seen.stamp}, on its way from {seen.before} to {seen.after}"
    evidence(
        f"{seen.stamp - seen.before} ns after it was handed over; on its way for less than "
        f"{seen.after - seen.before} ns"
    )


@pytest.mark.case("device", needs=("PTP", "SR-IOV"))
def test_vf_has_no_clock(rig: Rig, evidence: Evidence) -> None:
    """A VF has no clock and stamps no frames, so that no guest can touch the host's time."""
    with vfs(rig, 1) as (vf,), on_host(rig, vf) as node, under_test("asking a VF for a clock"):
        output = node.run(("ethtool", "-T", node.interface)).text
        assert clock_of(rig.host, vf.bdf) is None, f"{vf.bdf} has a clock of its own"
        assert "hardware-" not in output, f"ethtool -T: {' '.join(output.split())}"
        refusal = stamping_refused(node)
        assert refusal, "the VF lets itself be told to stamp frames"
    evidence(refusal)


def sync_message(source: str, destination: str) -> bytes:
    """A Sync message of PTP version 2 over Ethernet (IEEE 1588-2008, 13.3 and annex F)."""
    from scapy.layers.l2 import Ether

    # messageType 0 and versionPTP 2, messageLength 44, then zeros: domain 0, sequence 0, time 0.
    content = bytes.fromhex("0002002c").ljust(44, b"\0")
    return bytes(Ether(dst=destination, src=source, type=0x88F7) / content)
