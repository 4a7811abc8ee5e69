"""What became of frames that were counted as they were sent: delivered, or dropped at a named place
(docs/design.md, rule 5). Pure functions.

    pktgen -> the partner's port -> the port under test -> macvtap -> the guest's ring -> its kernel

A place's drops are what a counter there says; what no counter tells is of an unknown place, and
more than TOLERANCE of it is no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.core.units import NS_PER_S
from harness.qemu.attachment import NicAttachment
from harness.records.trial import DELIVERED, DROPPED, SENT, Proof
from harness.workloads.base import Sending

TOLERANCE = 0.001
"""The share of the frames sent that may be of no known place."""

UNKNOWN = "unknown place"


def accounts(
    sending: Sending, attachment: NicAttachment, counters: Mapping[str, int]
) -> dict[str, int]:
    """frames.sent, frames.delivered, and a dropped.<place> for each place that this path has.

    `counters` as in TrialRecord, with those of harness.window.drops. Echo requests go the same way
    and are none of the frames.
    """
    sent = sending.sent
    delivered = min(sent, counters["guest.rx_packets"] - sending.asks)
    places = {"partner's port": max(0, sent + sending.asks - counters["partner.tx_packets"])}
    if attachment.host_interface:
        places["port under test"] = counters.get("port.rx_missed", 0)
    if attachment.tap:
        places["macvtap"] = counters.get("tap.rx_missed", 0)
    places["guest's ring"] = counters.get("guest.rx_missed", 0)
    places[UNKNOWN] = sent - delivered - sum(places.values())
    return {SENT: sent, DELIVERED: delivered} | {
        f"{DROPPED}{place}": frames for place, frames in places.items()
    }


def metrics(sending: Sending, account: Mapping[str, int]) -> dict[str, float]:
    """pps, pps_offered (frames a second) and frame_loss (%) of an account."""
    sent, delivered = account[SENT], account[DELIVERED]
    return {
        "pps": delivered * NS_PER_S / sending.busy_ns,
        "pps_offered": sent * NS_PER_S / sending.ns,
        "frame_loss": 100 * (sent - delivered) / sent,
    }


def prove(account: Mapping[str, int]) -> Proof:
    """The frames add up, within TOLERANCE: all that were sent are delivered, or dropped at a place
    that is known."""
    sent, unknown = account[SENT], account[f"{DROPPED}{UNKNOWN}"]
    dropped = {
        name.removeprefix(DROPPED): frames
        for name, frames in account.items()
        if name.startswith(DROPPED) and frames
    }
    told = ", ".join(f"{frames} dropped at: {place}" for place, frames in dropped.items())
    return Proof(
        name="frames add up",
        holds=abs(unknown) <= TOLERANCE * sent and account[DELIVERED] > 0,
        detail=f"{sent} sent, {account[DELIVERED]} delivered, {told or 'none dropped'}; "
        f"up to {TOLERANCE:.1%} may be of an unknown place",
    )
