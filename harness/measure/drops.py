"""What became of frames that were counted as they were sent: delivered, or dropped at a named place
(docs/design.md, rule 5). Pure functions.

    pktgen -> the partner's port -> the port under test -> macvtap -> the guest's ring -> its kernel

On the way into a VF, or a port that is passed through, the port's driver is the guest's. A place's
drops are what a counter there says, or what two counters around it differ by; the rest is of an
unknown place, and more than TOLERANCE of it is no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.units import NS_PER_S
from harness.qemu.attachment import NicAttachment
from harness.records.trial import DELIVERED, DROPPED, SENT, SURPLUS, Proof
from harness.workloads.base import Sending

TOLERANCE = 0.001
"""The share of the frames sent that may be of no known place."""

PARTNER, NIC, TAP = "partner's port", "port under test", "macvtap"
RING, UNKNOWN = "guest's ring", "unknown place"


def accounts(
    sending: Sending, attachment: NicAttachment, counters: Mapping[str, int]
) -> dict[str, int]:
    """frames.sent, frames.delivered, a dropped.<place> for each place that this path has, and
    frames.surplus: how many more these are than were sent, such as somebody else's.

    `counters` as in TrialRecord, with those of harness.window.drops. Echo requests go the same way
    and are none of the frames.
    """
    sent, carried = sending.sent, counters["partner.tx_packets"] - sending.asks
    arrived = counters["guest.rx_packets"] - sending.asks
    places = {PARTNER: max(0, sent - carried)}
    if attachment.tap:
        passed = counters["port.rx_packets"] - sending.asks
        places[NIC] = _in_nic(carried - passed, counters["port.rx_missed"])
        places[TAP] = counters["tap.rx_missed"]
        places[RING] = counters["guest.rx_missed"]
    else:
        missed = counters["guest.rx_missed"] + counters.get("port.rx_missed", 0)
        places[NIC] = _in_nic(carried - arrived, missed)
    rest = sent - arrived - sum(places.values())
    places[UNKNOWN] = max(0, rest)
    delivered = min(max(0, arrived), sent)
    return {SENT: sent, DELIVERED: delivered, SURPLUS: max(0, -rest)} | {
        f"{DROPPED}{place}": frames for place, frames in places.items()
    }


def _in_nic(lost: int, missed: int) -> int:
    """Frames that were lost between the cable and the NIC's driver. If the NIC has counted any, so
    many as it says. Some count none: VFs of an 82576, and QEMU's igb; then all, for there is no
    other place on that way."""
    return min(missed, lost) if missed else max(0, lost)


def metrics(sending: Sending, account: Mapping[str, int]) -> dict[str, float]:
    """pps, pps_offered (frames a second) and frame_loss (%) of an account."""
    sent, delivered = account[SENT], account[DELIVERED]
    return {
        "pps": delivered * NS_PER_S / sending.busy_ns,
        "pps_offered": sent * NS_PER_S / sending.ns,
        "frame_loss": 100 * max(0, sent - delivered) / sent,
    }


def prove(account: Mapping[str, int]) -> Proof:
    """The frames add up, within TOLERANCE: all that were sent are delivered, or dropped at a place
    that is known."""
    sent, surplus = account[SENT], account[SURPLUS]
    unknown = account[f"{DROPPED}{UNKNOWN}"] + surplus
    dropped = {
        name.removeprefix(DROPPED): frames
        for name, frames in account.items()
        if name.startswith(DROPPED) and frames
    }
    told = ", ".join(f"{frames} dropped at: {place}" for place, frames in dropped.items())
    return Proof(
        name="frames add up",
        holds=unknown <= TOLERANCE * sent and account[DELIVERED] > 0,
        detail=f"{sent} sent, {account[DELIVERED]} delivered, {told or 'none dropped'}, "
        f"{surplus} too many; "
        f"up to {TOLERANCE:.1%} may be of an unknown place",
    )
