"""The workloads, in the order in which they are reported."""

from __future__ import annotations

from harness.errors import ConfigError
from harness.workloads.base import Workload
from harness.workloads.iperf3 import UDP_RATE, Iperf3
from harness.workloads.latency import Latency

ALL: tuple[Workload, ...] = (
    Iperf3("tcp-tx"),
    Iperf3("tcp-rx"),
    Iperf3("tcp-bidir"),
    Iperf3("udp"),
    Latency(),
)
"""With their default parameters. The idle baseline is no workload to choose: each guest has it."""

NAMES = tuple(workload.name for workload in ALL)


def select(names: tuple[str, ...], *, udp_rate: int = UDP_RATE) -> tuple[Workload, ...]:
    """The workloads of these names, in the order given; ConfigError for a name there is not.

    `udp_rate` is in bit/s.
    """
    known = {workload.name: workload for workload in (*ALL, Iperf3("udp", rate=udp_rate))}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        said = ", ".join(repr(name) for name in unknown) or "nothing"
        raise ConfigError(
            f"--workloads: {said} is not a workload", remedy=f"choose from {', '.join(known)}"
        )
    return tuple(known[name] for name in dict.fromkeys(names))
