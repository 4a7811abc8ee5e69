"""Where each frame went that a generator sent: the account must add up, or the trial is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure import drops
from harness.measure.proof import prove
from harness.qemu.attachment import NicAttachment
from harness.records.trial import DELIVERED, DROPPED, SENT, SURPLUS
from harness.workloads import named
from harness.workloads.base import Sending

VF = NicAttachment(path="sriov", mac="02:6e:00:00:00:01", driver="igbvf", host_interface="eth1")
TAPPED = NicAttachment(
    path="virtio",
    mac="02:6e:00:00:00:02",
    driver="virtio_net",
    host_interface="eth1",
    tap="tap0",
    host_carries=True,
)

FRAMES, ASKS = 50_000, 4
SENDING = Sending(FRAMES, ASKS, ns=125_000_000, busy_ns=200_000_000)


def counted(delivered: int, **more: int) -> dict[str, int]:
    """Counters of a window in which so many frames came as far as the guest; `port`, `tap` and
    `ring` frames were dropped there."""
    return {
        "partner.tx_packets": FRAMES + ASKS - more.get("unsent", 0),
        "partner.tx_bytes": (FRAMES + ASKS) * 60,
        "partner.rx_packets": ASKS,
        "partner.rx_bytes": ASKS * 60,
        "guest.rx_packets": delivered + ASKS,
        "guest.rx_bytes": (delivered + ASKS) * 60,
        "guest.tx_packets": ASKS,
        "guest.tx_bytes": ASKS * 60,
        "guest.rx_missed": more.get("ring", 0),
        "guest.retransmitted": 0,
        "partner.retransmitted": 0,
        "port.rx_packets": FRAMES + ASKS - more.get("unsent", 0) - more.get("port", 0),
        "port.rx_missed": more.get("port", 0),
        "tap.rx_missed": more.get("tap", 0),
        "host.rx_packets": FRAMES + ASKS - more.get("port", 0),
        "host.tx_packets": ASKS,
    }


def test_a_drop_is_of_the_place_that_counted_it() -> None:
    found = counted(30_000, unsent=1000, port=2000, tap=16_000, ring=1000)
    assert drops.accounts(SENDING, TAPPED, found) == {
        SENT: FRAMES,
        DELIVERED: 30_000,
        SURPLUS: 0,
        f"{DROPPED}partner's port": 1000,
        f"{DROPPED}port under test": 2000,
        f"{DROPPED}macvtap": 16_000,
        f"{DROPPED}guest's ring": 1000,
        f"{DROPPED}{drops.UNKNOWN}": 0,
    }


def test_a_path_has_the_places_that_are_on_it() -> None:
    account = drops.accounts(SENDING, VF, counted(FRAMES))
    places = [name.removeprefix(DROPPED) for name in account if name.startswith(DROPPED)]
    assert places == ["partner's port", "port under test", "unknown place"]


@pytest.mark.parametrize(
    ("attachment", "missed", "found", "unknown"),
    [
        (VF, 0, 10_000, 0),  # a VF without a counter: between its driver and the cable is the NIC
        (VF, 10_000, 10_000, 0),
        (VF, 4000, 4000, 6000),  # the NIC counts, and the others are nowhere
        (TAPPED, 0, 10_000, 0),
        (TAPPED, 4000, 4000, 6000),
        (TAPPED, 12_000, 10_000, 0),  # others than ours
    ],
)
def test_what_a_nic_lost_is_what_it_counts_or_the_difference_around_it(
    attachment: NicAttachment, missed: int, found: int, unknown: int
) -> None:
    counters = counted(40_000, port=10_000) | {"port.rx_missed": missed}
    account = drops.accounts(SENDING, attachment, counters)
    assert account[f"{DROPPED}{drops.NIC}"] == found
    assert account[f"{DROPPED}{drops.UNKNOWN}"] == unknown


def test_more_than_was_sent_is_somebody_elses() -> None:
    account = drops.accounts(SENDING, VF, counted(FRAMES + 400))
    assert account[SURPLUS] == 400 and not drops.prove(account).holds
    assert account[DELIVERED] == FRAMES and min(account.values()) >= 0


@pytest.mark.parametrize(
    ("unknown", "holds"), [(0, True), (50, True), (51, False), (-50, True), (-51, False)]
)
def test_a_thousandth_may_be_of_no_known_place_and_no_more(unknown: int, holds: bool) -> None:
    found = counted(40_000, tap=10_000 - unknown)
    account = drops.accounts(SENDING, TAPPED, found)
    proof = drops.prove(account)
    assert proof.holds is holds
    assert account[f"{DROPPED}{drops.UNKNOWN}"] - account[SURPLUS] == unknown
    assert (f"{unknown} dropped at: unknown place" in proof.detail) is (unknown > 0)
    assert (f"{-unknown} too many" in proof.detail) is (unknown <= 0)


def test_nothing_delivered_is_no_measurement_even_if_all_is_accounted_for() -> None:
    account = drops.accounts(SENDING, TAPPED, counted(0, tap=FRAMES))
    assert account[f"{DROPPED}{drops.UNKNOWN}"] == 0 and not drops.prove(account).holds


@given(st.integers(1, FRAMES), st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_the_parts_of_an_account_are_all_that_was_sent(
    delivered: int, port: int, tap: int, ring: int
) -> None:
    account = drops.accounts(SENDING, TAPPED, counted(delivered, port=port, tap=tap, ring=ring))
    parts = [frames for name, frames in account.items() if name.startswith(DROPPED)]
    assert account[DELIVERED] + sum(parts) - account[SURPLUS] == account[SENT] == FRAMES


def test_rates_are_of_the_time_in_which_each_end_was_busy() -> None:
    account = drops.accounts(SENDING, TAPPED, counted(40_000, tap=10_000))
    assert drops.metrics(SENDING, account) == {
        "pps": 200_000.0,  # in 0.2 s
        "pps_offered": 400_000.0,  # in 0.125 s
        "frame_loss": 20.0,
    }


def proofs(attachment: NicAttachment, found: dict[str, int]) -> dict[str, bool]:
    counters = found | drops.accounts(SENDING, attachment, found)
    made = prove(
        attachment,
        workload=named("pps-rx-64"),
        driver=attachment.driver,
        neighbour=attachment.mac,
        counters=counters,
    )
    return {proof.name: proof.holds for proof in made}


def test_frames_that_are_accounted_for_are_proved_by_that_and_not_by_their_bytes() -> None:
    assert proofs(TAPPED, counted(30_000, port=5000, tap=15_000)) == {
        "driver": True,
        "mac": True,
        "bytes guest.tx -> partner.rx": True,
        "frames add up": True,
        "host interface": True,  # it saw all but those that it dropped itself
    }


def test_frames_of_a_vf_that_its_pf_saw_went_another_way() -> None:
    found = counted(FRAMES)
    assert not proofs(VF, found)["host interface"]
    assert proofs(VF, found | {"host.rx_packets": 0, "host.tx_packets": 0})["host interface"]
