"""Proof that a trial's traffic went where its record says (docs/design.md, rule 5).

Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.measure import drops
from harness.qemu.attachment import NicAttachment
from harness.records.trial import DROPPED, SENT, Proof
from harness.workloads.base import Workload

TOLERANCE = 0.01
"""Guest and partner must agree on bytes within this share, frames known to be lost apart."""

SLACK_BYTES = 4096
"""Frames that belong to neither side's trial (ARP, router solicitations): a few small ones."""

SUPER_FRAME = 1 << 16
"""The largest frame that TSO hands down, in bytes. A guest that counts such frames may miss one:
its driver reads registers that clear when read, while QEMU's e1000e goes on counting."""

FCS = 4
"""Bytes of a frame's checksum, which some drivers count (e1000e reads them from its GORC register,
which has them: 82574 datasheet, "Good Octets Received Count") and others do not. In a stream of
acknowledgements they are 6 %."""

SHORTEST = 60
"""Bytes of the shortest frame on the wire, without FCS (IEEE 802.3). What is shorter is padded, by
hardware: who sends counts what it handed over, who receives what came."""

ETHERNET = 14
HEADERLESS = frozenset({"8139cp"})
"""Drivers that count what they receive without its Ethernet header (8139cp.c adds up skb->len
after eth_type_trans)."""

FULL_FRAME = 1514
"""Bytes of the largest Ethernet frame at MTU 1500, without FCS (IEEE 802.3)."""


def prove(
    attachment: NicAttachment,
    *,
    workload: Workload,
    driver: str,
    neighbour: str,
    counters: Mapping[str, int],
    lost_bytes: int = 0,
) -> tuple[Proof, ...]:
    """Every piece of evidence for one trial; the trial is valid only if all hold.

    `driver` is bound where the traffic ends, `neighbour` the address that the partner saw
    answering, `counters` as in TrialRecord, `lost_bytes` what the workload itself missed of what it
    sent, on the wire.
    """
    lost = _on_the_way(workload, counters, lost_bytes)
    return (
        Proof(
            name="driver",
            holds=driver == attachment.driver,
            detail=f"bound: {driver or 'none'}, expected: {attachment.driver}",
        ),
        Proof(
            name="mac",
            holds=neighbour.lower() == attachment.mac.lower(),
            detail=f"partner saw {neighbour or 'nobody'}, expected {attachment.mac}",
        ),
        # Only answers to probes can be missed on this way: datagrams go the other one.
        _agree(
            workload,
            counters,
            sent="guest.tx",
            received="partner.rx",
            lost=lost if workload.frames.answered else 0,
        ),
        drops.prove(counters)
        if SENT in counters
        else _agree(
            workload,
            _with_headers(driver, counters),
            sent="partner.tx",
            received="guest.rx",
            lost=lost,
        ),
        *_host(attachment, counters),
    )


def _with_headers(driver: str, counters: Mapping[str, int]) -> Mapping[str, int]:
    """The counters with the Ethernet headers that the guest's driver leaves out."""
    missing = ETHERNET * counters["guest.rx_packets"] if driver in HEADERLESS else 0
    return {**counters, "guest.rx_bytes": counters["guest.rx_bytes"] + missing}


def _on_the_way(workload: Workload, counters: Mapping[str, int], lost_bytes: int) -> int:
    """Bytes that may be missing on the wire, of those that the workload missed at its end: what a
    full socket of the guest's dropped had come as far as its interface (RFC 4113 udpInErrors)."""
    if not workload.frames.queued or not lost_bytes:
        return lost_bytes
    frames = max(1, counters["partner.tx_packets"])
    dropped = counters.get("guest.udp_dropped", 0) * counters["partner.tx_bytes"] // frames
    return max(0, lost_bytes - dropped)


def _agree(
    workload: Workload, counters: Mapping[str, int], *, sent: str, received: str, lost: int
) -> Proof:
    """Bytes that one side sent and the other received, both as on the wire; of them `lost` may be
    missing.

    The guest may count super-frames: the headers that its counter lacks are those of the frames
    that the partner counted above the guest's number.
    """
    guest, partner = (sent, received) if sent.startswith("guest") else (received, sent)
    guest_bytes, partner_bytes = (
        max(counters[f"{end}_bytes"], SHORTEST * counters[f"{end}_packets"])
        for end in (guest, partner)
    )
    hidden = max(0, counters[f"{partner}_packets"] - counters[f"{guest}_packets"])
    guest_wire = guest_bytes + hidden * workload.frames.headers
    left, arrived = (
        (guest_wire, partner_bytes) if sent.startswith("guest") else (partner_bytes, guest_wire)
    )
    # Sent is received plus what was lost on the way. TCP sends again what was lost, and counts it;
    # of datagrams and probes the workload tells. What arrives without having been sent is a detour
    # in every case.
    resent = counters[f"{sent.partition('.')[0]}.retransmitted"]
    slack = SUPER_FRAME if hidden and workload.frames.super_frames else SLACK_BYTES
    allowed = max(TOLERANCE * partner_bytes, slack) + FCS * counters[f"{guest}_packets"]
    missing = f"{lost} B missed by {workload.name} itself, " if lost else ""
    return Proof(
        name=f"bytes {sent} -> {received}",
        holds=-allowed <= left - arrived <= allowed + lost + resent * FULL_FRAME,
        detail=(
            f"sent {left} B, received {arrived} B on the wire (the guest's own counter: "
            f"{counters[f'{guest}_bytes']} B), {missing}{resent} segments sent again, "
            f"allowed gap {allowed:.0f} B"
        ),
    )


def _host(attachment: NicAttachment, counters: Mapping[str, int]) -> tuple[Proof, ...]:
    """What the PF's own interface saw: all of a tapped path's frames, none of a VF's."""
    if not attachment.host_interface:
        return ()
    # Frames, not bytes: whether the PF's counter has the frames' checksums (FCS) varies by driver.
    wire = counters["partner.rx_packets"] + counters["partner.tx_packets"]
    wire -= counters.get(f"{DROPPED}{drops.NIC}", 0) if attachment.host_carries else 0
    seen = counters["host.rx_packets"] + counters["host.tx_packets"]
    if attachment.host_carries:
        holds = seen >= (1 - 5 * TOLERANCE) * wire
        expected = "all of them, for they pass the PF"
    else:
        holds = seen <= max(TOLERANCE * wire, 20)
        expected = "none, for a VF bypasses it"
    return (
        Proof(
            name="host interface",
            holds=holds,
            detail=f"{attachment.host_interface} saw {seen} of {wire} frames, expected {expected}",
        ),
    )
