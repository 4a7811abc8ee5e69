"""Which trials count: the proof of path, on counters as the nested lab gave them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.measure.proof import prove
from harness.qemu.attachment import NicAttachment
from harness.workloads import named

SRIOV = NicAttachment(path="sriov", mac="02:6e:00:00:00:01", driver="igbvf", host_interface="eth1")
VIRTIO = NicAttachment(
    path="virtio",
    mac="02:6e:00:00:00:02",
    driver="virtio_net",
    host_interface="eth1",
    host_carries=True,
)

# 64 MiB of TCP from the guest. igbvf counts frames of MTU size, virtio_net super-frames: 45,000
# frames of 66 header bytes fewer in its byte counter.
PAYLOAD = 64 << 20
FRAMES = PAYLOAD // 1448 + 1
WIRE = PAYLOAD + FRAMES * 66
ACKS = 900


def counters(guest_frames: int, *, host_frames: int = 0) -> dict[str, int]:
    return {
        "guest.tx_bytes": PAYLOAD + guest_frames * 66,
        "guest.tx_packets": guest_frames,
        "guest.rx_bytes": ACKS * 66,
        "guest.rx_packets": ACKS,
        "partner.rx_bytes": WIRE,
        "partner.rx_packets": FRAMES,
        "partner.tx_bytes": ACKS * 66,
        "partner.tx_packets": ACKS,
        "guest.retransmitted": 0,
        "partner.retransmitted": 0,
        "host.rx_packets": host_frames // 50,
        "host.tx_packets": host_frames - host_frames // 50,
    }


def failing(
    attachment: NicAttachment,
    found: dict[str, int],
    lost_bytes: int = 0,
    /,
    *,
    workload: str = "tcp-tx",
    driver: str = "",
    neighbour: str = "",
) -> list[str]:
    """Driver and neighbour are the attachment's, unless they are given."""
    proofs = prove(
        attachment,
        workload=named(workload),
        driver=driver or attachment.driver,
        neighbour=neighbour or attachment.mac,
        counters=found,
        lost_bytes=lost_bytes,
    )
    return [proof.name for proof in proofs if not proof.holds]


def test_a_vf_that_the_pf_did_not_see_is_proved() -> None:
    assert failing(SRIOV, counters(FRAMES)) == []


def test_super_frames_are_brought_to_wire_size_before_they_are_compared() -> None:
    assert failing(VIRTIO, counters(2000, host_frames=FRAMES + ACKS)) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"driver": "virtio_net"}, "driver"), ({"neighbour": "52:54:00:00:00:09"}, "mac")],
)
def test_another_driver_or_address_is_no_proof(changes: dict[str, str], name: str) -> None:
    assert failing(SRIOV, counters(FRAMES), **changes) == [name]


def test_traffic_of_a_vf_that_the_pf_saw_went_another_way() -> None:
    assert failing(SRIOV, counters(FRAMES, host_frames=FRAMES)) == ["host interface"]


def test_traffic_of_a_tap_that_the_pf_did_not_see_went_another_way() -> None:
    assert failing(VIRTIO, counters(2000)) == ["host interface"]


def test_two_percent_of_bytes_that_never_reached_the_partner_are_too_many() -> None:
    found = counters(FRAMES)
    found["partner.rx_bytes"] = int(WIRE * 0.98)
    assert failing(SRIOV, found) == ["bytes guest.tx -> partner.rx"]


def test_one_super_frame_may_be_missed_by_a_guest_that_counts_them_and_no_more() -> None:
    """Met with e1000e at 2 Mbit/s: 2,078,231 bytes of its own, 33,444 too few."""
    found = counters(1000, host_frames=FRAMES + ACKS)
    for missed, expected in ((1, []), (30, ["bytes guest.tx -> partner.rx"])):
        short = {**found, "guest.tx_bytes": found["guest.tx_bytes"] - missed * 33_444}
        assert failing(VIRTIO, short) == expected


def test_a_driver_that_counts_checksums_is_not_taken_for_a_detour() -> None:
    """Met with e1000e: 1,386 acknowledgements of 91,503 bytes, 97,015 by the guest's counter."""
    found = counters(FRAMES) | {"partner.tx_bytes": 91_503, "partner.tx_packets": 1386}
    found |= {"guest.rx_bytes": 97_015, "guest.rx_packets": 1386}
    assert failing(SRIOV, found) == []
    found |= {"guest.rx_bytes": 97_015 + 5_000}
    assert failing(SRIOV, found) == ["bytes partner.tx -> guest.rx"]


def test_a_driver_that_leaves_the_ethernet_header_out_is_not_taken_for_a_loss() -> None:
    """Met with 8139cp: 520 echo requests of 98 bytes, 43,680 by the guest's counter."""
    found = counters(FRAMES) | {"partner.tx_bytes": 50_960, "partner.tx_packets": 520}
    found |= {"guest.rx_bytes": 43_680, "guest.rx_packets": 520}
    assert failing(SRIOV, found, workload="latency") == ["bytes partner.tx -> guest.rx"]
    assert failing(replace(SRIOV, driver="8139cp"), found, workload="latency") == []


@pytest.mark.parametrize(("received", "holds"), [(60, True), (64, True), (120, False)])
def test_what_hardware_pads_is_no_detour(received: int, holds: bool) -> None:
    """A request of one byte over UDP has 43 bytes, and on the wire 60; some count FCS, too."""
    found = counters(FRAMES) | {"partner.tx_bytes": 43_000, "partner.tx_packets": 1000}
    found |= {"guest.rx_bytes": received * 1000, "guest.rx_packets": 1000}
    found |= {"guest.tx_bytes": 43_000, "guest.tx_packets": 1000}
    found |= {"partner.rx_bytes": received * 1000, "partner.rx_packets": 1000}
    names = ("bytes guest.tx -> partner.rx", "bytes partner.tx -> guest.rx")
    assert failing(SRIOV, found, workload="udp-rr") == ([] if holds else [*names])
    half = found | {"guest.rx_bytes": 30_000, "guest.rx_packets": 500}
    assert names[1] in failing(SRIOV, half, workload="udp-rr")


def test_what_tcp_sent_again_was_lost_and_is_accounted_for() -> None:
    found = counters(FRAMES)
    found["partner.rx_bytes"] = int(WIRE * 0.98)
    lost = WIRE - found["partner.rx_bytes"]
    assert failing(SRIOV, {**found, "guest.retransmitted": lost // 1514 + 1}) == []
    assert failing(SRIOV, {**found, "partner.retransmitted": lost}) == [
        "bytes guest.tx -> partner.rx"
    ]


DATAGRAMS = {"partner.tx_bytes": 1_000_000, "partner.tx_packets": 700}


def test_udp_that_was_lost_is_loss_not_a_detour_if_iperf3_missed_it_too() -> None:
    found = counters(FRAMES) | DATAGRAMS
    found |= {"guest.rx_bytes": 900_000, "guest.rx_packets": 630}
    assert failing(SRIOV, found, 100_000, workload="udp") == []
    assert failing(SRIOV, found) == ["bytes partner.tx -> guest.rx"]


@pytest.mark.parametrize(("lost", "holds"), [(0, False), (500_000, False), (950_000, True)])
def test_udp_that_went_another_way_does_not_prove_its_path(lost: int, holds: bool) -> None:
    """1,000,000 bytes sent, of which the guest's port saw 51,580: iperf3 must have missed them."""
    found = counters(FRAMES) | DATAGRAMS
    found |= {"guest.rx_bytes": 51_580, "guest.rx_packets": 40}
    expected = [] if holds else ["bytes partner.tx -> guest.rx"]
    assert failing(SRIOV, found, lost, workload="udp") == expected


def test_what_the_guests_own_socket_dropped_had_come_the_way_and_excuses_nothing() -> None:
    found = counters(FRAMES) | DATAGRAMS
    found |= {"guest.rx_bytes": 500_000, "guest.rx_packets": 350}
    assert failing(SRIOV, {**found, "guest.udp_dropped": 0}, 500_000, workload="udp") == []
    full = {**found, "guest.udp_dropped": 350}  # so 350 of those that iperf3 missed were there
    assert failing(SRIOV, full, 500_000, workload="udp") == ["bytes partner.tx -> guest.rx"]


def test_datagrams_are_lost_on_their_way_only() -> None:
    found = counters(FRAMES)
    found["partner.rx_bytes"] = int(WIRE * 0.98)
    lost = WIRE - found["partner.rx_bytes"]
    for workload, expected in (("udp", ["bytes guest.tx -> partner.rx"]), ("latency", [])):
        assert failing(SRIOV, found, lost, workload=workload) == expected


def test_bytes_that_arrive_without_having_been_sent_are_a_detour_for_udp_too() -> None:
    found = counters(FRAMES)
    found |= {"partner.tx_bytes": 9_000_000, "guest.rx_bytes": 10_000_000}
    assert failing(SRIOV, found, 5_000_000, workload="udp") == ["bytes partner.tx -> guest.rx"]
