"""What `iperf3 -J` prints, decoded and held against itself. Pure functions.

An exit status of 0 proves nothing (a killed server gave 0 and `"end": {}`), so a document counts
only if it has no `error` key, says nothing twice, and its figures do not contradict each other.

Facts that the code relies on, all seen in real output of 3.9 to 3.21:
- `sum_sent` and `sum_received` belong to the client's direction, which with -R is the reverse one;
  with --bidir the reverse direction has `sum_sent_bidir_reverse` and `sum_received_bidir_reverse`
  (3.7 to 3.10.1 print it under the same keys once more);
- the sums leave out the seconds of --omit, the intervals hold them, marked `omitted`;
- an interval counts what the client saw: bytes given to the socket when it sends, bytes that
  arrived when it receives;
- `lost_packets` of UDP are gaps that the receiver saw in the numbers of what arrived, so what was
  lost, or not yet read, at the very end is not among them; bytes are counted at both ends.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import msgspec

T = TypeVar("T")

WRAPPED = 2**31
"""Retransmits from here on are a difference below 0 in 32 bits: iperf3 3.1 printed 4294967294
(esnet/iperf issue 725)."""

UNREAD, UNREAD_SHARE = 10, 0.02
"""Datagrams, and the share of those sent, that may be on their way or unread when a test ends: they
are neither received nor lost. Of 50,000 to 120,000 sent as fast as possible into a socket of 4 KiB
on a busy machine they were 0 to 1.8 per cent."""


class Unusable(ValueError):
    """The output is no complete result; the message says why."""


class Sum(msgspec.Struct, frozen=True):
    """`bytes`, rate and what else iperf3 counts for one direction; UDP has the last four."""

    bytes: int
    bits_per_second: float
    retransmits: int | None = None
    jitter_ms: float | None = None
    lost_percent: float | None = None
    lost_packets: int | None = None
    packets: int | None = None
    omitted: bool = False


class Interval(msgspec.Struct, frozen=True):
    sum: Sum
    sum_bidir_reverse: Sum | None = None


class Cpu(msgspec.Struct, frozen=True):
    host_total: float
    remote_total: float


class End(msgspec.Struct, frozen=True):
    sum_sent: Sum | None = None
    sum_received: Sum | None = None
    sum_sent_bidir_reverse: Sum | None = None
    sum_received_bidir_reverse: Sum | None = None
    cpu_utilization_percent: Cpu | None = None


class Document(msgspec.Struct, frozen=True):
    """The part of `iperf3 -J` that is used."""

    end: End
    intervals: tuple[Interval, ...] = ()
    error: str | None = None


USED = frozenset(
    name for each in (Document, End, Interval, Sum, Cpu) for name in each.__struct_fields__
)


def read_document(text: str) -> Document:
    """`iperf3 -J` output; Unusable if it is no JSON of that shape or reports an error."""
    try:
        plain = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        document = msgspec.convert(plain, Document)
    except Unusable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unusable(f"iperf3's output is not a complete result: {error}") from error
    if document.error is not None:
        raise Unusable(f"iperf3: {document.error}")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; Unusable if a key that is used is there twice, of which decoders drop the
    first. (3.11 to 3.13 repeat sizes of sockets with --bidir.)"""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and key in USED:
            raise Unusable(
                f"iperf3's output has {key!r} twice in one object, so one of the two is lost; "
                "3.7 to 3.10.1 print that with --bidir"
            )
        found[key] = value
    return found


def _no_number(word: str) -> NoReturn:
    raise Unusable(f"iperf3's output has {word} for a number")


def needed(value: T | None, what: str) -> T:
    """A part of the document; Unusable if it is not there."""
    if value is None:
        raise Unusable(f"iperf3's result is incomplete: {what} is missing")
    return value


def retransmits(sent: Sum, what: str = "retransmits") -> int:
    """TCP segments sent again in a direction; Unusable if that is no count."""
    found = needed(sent.retransmits, what)
    if not 0 <= found < WRAPPED:
        raise Unusable(f"iperf3 reports {found} {what}, which cannot be")
    return found


def missing_datagrams(sent: Sum, received: Sum) -> int:
    """Datagrams that were sent and did not arrive, by the bytes that either end counted.

    What was unread at the end counts as missing. 0 if nothing was sent.
    """
    packets = needed(sent.packets, "packets")
    if packets <= 0 or sent.bytes <= 0:
        return 0
    return round((sent.bytes - received.bytes) / (sent.bytes / packets))


def udp_loss(sent: Sum, received: Sum) -> float:
    """Per cent of datagrams lost, as the receiver counted them.

    Unusable if that cannot be, or contradicts the bytes: a client of 3.14 or newer tells of no loss
    whatever its server, if older, has counted (esnet/iperf issue 2055).
    """
    percent = needed(received.lost_percent, "lost_percent")
    if not 0 <= percent <= 100:
        # Seen with --omit when the receiver is far behind: datagrams of the warm-up arrive in the
        # measured part and the two counts no longer belong together.
        raise Unusable(f"iperf3 reports a loss of {percent:g} %, which cannot be")
    packets = needed(sent.packets, "packets")
    missing = missing_datagrams(sent, received)
    lost = needed(received.lost_packets, "lost_packets")
    if not -UNREAD <= missing - lost <= max(UNREAD, UNREAD_SHARE * packets):
        raise Unusable(
            f"iperf3 reports {lost} of {packets} datagrams lost ({percent:g} %), but by the bytes "
            f"sent and received {missing} did not arrive ({100 * missing / max(1, packets):.3g} %)"
        )
    return percent
