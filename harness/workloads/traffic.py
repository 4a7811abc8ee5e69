"""The options of a configuration that say what its traffic is: how long, how much, how fast."""

from __future__ import annotations

from typing import Annotated

import msgspec

from harness.core.errors import ConfigError
from harness.core.flags import says
from harness.workloads.rr import MOST_BYTES, MOST_FLOWS, Exchange

MOST_STREAMS = 128
"""What iperf3 takes at the most (MAX_STREAMS in its iperf.h)."""

MOST_PPS = 1_000_000_000
"""pktgen's delay between two frames is a whole number of nanoseconds."""

UNLIMITED = "unlimited"

_SLOWEST, _FASTEST = 0.001, 1e6  # Mbit/s


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is None is the workload's own."""

    streams: (
        Annotated[
            int,
            says(
                "parallel streams of the TCP workloads (default 1; those whose name ends with a "
                "number have so many), as several queues want them",
                metavar="N",
                ge=1,
                le=MOST_STREAMS,
            ),
        ]
        | None
    ) = None
    seconds: (
        Annotated[
            int,
            says(
                "seconds of an iperf3 test, its warm-up apart (default: 10 after 2 on hardware; in "
                "a lab a fixed size by a virtual clock, else 1 after 1, 2 of UDP)",
                metavar="S",
                ge=1,
                le=3600,
            ),
        ]
        | None
    ) = None
    size: (
        Annotated[
            int,
            says(
                "MiB that an iperf3 test carries, however long that takes, instead of a time; all "
                "of it is measured",
                metavar="MIB",
                ge=1,
                le=1 << 20,
            ),
        ]
        | None
    ) = None
    udp_rate: (
        Annotated[
            str,
            says(
                "rate of the udp workload in Mbit/s, up to the link's, or unlimited (default 2; "
                "100 of a test by size)",
                metavar="MBITS",
                min_length=1,
                max_length=32,
                examples=["0.001", "2", UNLIMITED],
            ),
        ]
        | None
    ) = None
    rr_flows: (
        Annotated[
            int,
            says(
                "flows of tcp-rr, udp-rr and tcp-crr, each with one request under way (default 1)",
                metavar="N",
                ge=1,
                le=MOST_FLOWS,
            ),
        ]
        | None
    ) = None
    rr_request: (
        Annotated[
            int,
            says("payload of their requests (default 1)", metavar="BYTES", ge=1, le=MOST_BYTES),
        ]
        | None
    ) = None
    rr_response: (
        Annotated[
            int,
            says(
                "payload of the answers to these (default 1)",
                metavar="BYTES",
                ge=1,
                le=MOST_BYTES,
            ),
        ]
        | None
    ) = None
    pps: (
        Annotated[
            int,
            says(
                "frames a second of pps-rx (default: as many as can be)",
                metavar="N",
                ge=1,
                le=MOST_PPS,
            ),
        ]
        | None
    ) = None
    mtu: (  # of IPv4 at the least (RFC 791); linux/if_ether.h: ETH_MAX_MTU
        Annotated[
            int,
            says(
                "MTU of the link partner's port, of the port under test and of the guest's "
                "interface; ports have their own again afterwards (default: as they are)",
                metavar="BYTES",
                ge=68,
                le=65535,
            ),
        ]
        | None
    ) = None

    @property
    def exchange(self) -> Exchange:
        """What transactions are."""
        return Exchange(self.rr_request or 1, self.rr_response or 1, self.rr_flows or 1)

    @property
    def udp_bits(self) -> int | None:
        """bit/s of UDP, 0 for as fast as it goes; None: the workload's own. ConfigError if it
        cannot be one."""
        if self.udp_rate is None:
            return None
        if self.udp_rate == UNLIMITED:
            return 0
        try:
            rate = float(self.udp_rate)
        except ValueError:
            rate = 0.0
        if not _SLOWEST <= rate <= _FASTEST:
            raise ConfigError(
                f"--udp-rate {self.udp_rate}: a number from {_SLOWEST:g} to {_FASTEST:.0f}, or "
                f"{UNLIMITED} is needed"
            )
        return round(rate * 1e6)

    def require_sound(self) -> None:
        """ConfigError names an option that cannot be, or two that contradict each other."""
        _ = self.udp_bits
        if self.seconds is not None and self.size is not None:
            raise ConfigError(
                f"--seconds {self.seconds} and --size {self.size}: a test ends by one of them"
            )
