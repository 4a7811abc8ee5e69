"""What ping prints, iputils' and busybox's. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) (?:packets )?received")
_ANSWER = re.compile(r"icmp_seq=(\d+) ttl=")


@dataclass(frozen=True)
class Pings:
    """Echo requests that were sent, and how many of them were answered."""

    sent: int
    received: int

    @property
    def lost(self) -> int:
        return self.sent - self.received


def summaries(text: str) -> tuple[Pings, ...]:
    """What each ping said at its end, in the order in which they are in the text; iputils counts an
    answer that came twice apart, so none is above what was sent."""
    return tuple(Pings(int(sent), int(received)) for sent, received in _SUMMARY.findall(text))


def summary(text: str) -> Pings | None:
    """That of the only ping, None if it did not come to its end."""
    return next(iter(summaries(text)), None)


def answered(text: str) -> frozenset[int]:
    """Sequence numbers of the requests that were answered, of a ping that is not quiet."""
    return frozenset(int(number) for number in _ANSWER.findall(text))
