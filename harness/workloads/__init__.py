"""The workloads, in the order in which they are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.core.errors import ConfigError
from harness.core.units import MIB, Clock, Fidelity
from harness.workloads.base import Workload
from harness.workloads.iperf3 import EMULATED_MARGIN_S, Iperf3
from harness.workloads.latency import Latency

BY_TIME: tuple[Workload, ...] = (
    Iperf3("tcp-tx"),
    Iperf3("tcp-rx"),
    Iperf3("tcp-bidir"),
    Iperf3("udp", seconds=2),
    Latency(count=10_000, interval=0.0005),
)
"""With their default parameters; probes enough for p99.9 (harness.core.percentiles). The idle
baseline is no workload to choose: each guest has it."""

BY_SIZE: tuple[Workload, ...] = (
    Iperf3("tcp-tx", size=128 * MIB),
    Iperf3("tcp-rx", size=192 * MIB),
    Iperf3("tcp-bidir", size=32 * MIB),
    Iperf3("udp", size=4 * MIB, rate=100_000_000),
    Latency(count=1000),
)
"""For the virtual clock, which stands still for what costs the real one most: a trial of fixed
size does the same work each time, and takes a few seconds of the world's time. A single transfer
then repeats within 1 %; but towards the guest a macvtap's queue overflows now and then, which TCP
averages out with time only: virtio-vhost varies by 3 % with 64 MiB, by 1 with 192. Probes are
a millisecond apart, which costs nothing here: sent back to back they wait for the ports' interrupt
moderation, and every path takes the same 120 us. They are enough for p99; ten times as many would
tell p99.9, and take as long as all other workloads."""

SLOW = Latency(count=1000, interval=0.004)
"""For an emulated lab by the wall clock, where a round trip takes 3 to 6 ms, and a prober that was
to send 2,000 a second would be late."""

NAMES = tuple(workload.name for workload in BY_TIME)


def select(names: Sequence[str]) -> tuple[str, ...]:
    """These names, each once, in the order given; ConfigError for one that is no workload."""
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        message = ", ".join(repr(name) for name in unknown) or "nothing"
        raise ConfigError(
            f"--workloads: {message} is not a workload", remedy=f"choose from {', '.join(NAMES)}"
        )
    return tuple(dict.fromkeys(names))


def named(name: str) -> Workload:
    """The workload of this name, with its default parameters; KeyError if there is none."""
    return {workload.name: workload for workload in BY_TIME}[name]


def fitted(
    name: str, clock: Clock, *, fidelity: Fidelity = "hardware", udp_rate: int | None = None
) -> Workload:
    """The workload `name` with parameters fit for a host's clock; `udp_rate` in bit/s overrides."""
    every = BY_SIZE if clock == "virtual" else BY_TIME
    (workload,) = (each for each in every if each.name == name)
    if isinstance(workload, Latency) and (clock, fidelity) == ("wall", "nested-tcg"):
        return SLOW
    if not isinstance(workload, Iperf3):
        return workload
    if (clock, fidelity) == ("wall", "nested-tcg"):
        workload = replace(workload, margin=EMULATED_MARGIN_S)
    if workload.name == "udp" and udp_rate is not None:
        workload = replace(workload, rate=udp_rate)
    return workload
