"""Metrics, each declared once: its unit, which direction is better, at which fidelity it is
evidence, what change of it is still none, and whether it decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

from harness.core.units import Clock, Fidelity, is_virtual

Better = Literal["lower", "higher", "none"]

Grounds = Literal["silicon", "software", "lab"]
"""How far a number may be relied upon: as what real hardware would do; as the cost of the software
on the path, in instructions; or as what one emulated lab did, and no further."""

EVERYWHERE: frozenset[Fidelity] = frozenset({"hardware", "nested-kvm", "nested-tcg"})
HARDWARE: frozenset[Fidelity] = frozenset({"hardware"})

_TIMED = {"s", "us"}
"""Parts of a unit that have seconds in them."""


@dataclass(frozen=True)
class Margin:
    """The change of a metric that is still none. One counts if it is beyond both."""

    relative: float
    absolute: float = 0.0  # in the metric's unit

    def ratio(self, total: float) -> float:
        """The change that is still none as a log ratio, of two values whose sum is `total`.

        Values whose ratio is r differ by total (r - 1) / (r + 1) = total tanh(log(r) / 2), so the
        absolute margin is a log ratio, too: one that also holds if one value is zero. Infinite
        where the values are so small that no change is beyond the absolute margin.
        """
        relative = math.log1p(self.relative)
        if self.absolute <= 0:
            return relative
        return (
            max(relative, 2 * math.atanh(self.absolute / total))
            if total > self.absolute
            else math.inf
        )

    def describe(self, unit: str) -> str:
        """ "10 % and 0.001 exits/packet"."""
        least = f" and {self.absolute:g} {'points' if unit == '%' else unit}"
        return f"{100 * self.relative:.0f} %{least if self.absolute else ''}"


@dataclass(frozen=True)
class Metric:
    """What a number means. `evidence` holds the fidelities at which it tells of silicon."""

    name: str
    label: str
    unit: str
    better: Better
    evidence: frozenset[Fidelity]
    margin: Margin = Margin(0.10)  # the change that is still none
    primary: bool = False
    """Does it decide whether a run is worse? Few do: each further one costs all of them power."""
    chosen_for: str = ""
    """What the path has that is best in it, for a metric by which one chooses a path."""

    def grounds(self, fidelity: Fidelity, clock: Clock) -> Grounds:
        if fidelity in self.evidence:
            return "silicon"
        return "software" if is_virtual(clock) else "lab"

    def unit_by(self, clock: Clock) -> str:
        """The unit; where seconds are in it, it says whose."""
        timed = not _TIMED.isdisjoint(self.unit.split("/"))
        return f"virtual {self.unit}" if is_virtual(clock) and timed else self.unit


_EXITS = Margin(0.10, 0.001)
"""A full frame takes 1.23 us at 10 Gbit/s (1,538 bytes with preamble and gap, IEEE 802.3). A
thousandth of an exit is 1 to 3 ns of that where an exit takes 1 to 3 us, and 27 ns for the dearest
mean that we know published (MSR_WRITE, 26.8 us, `perf kvm stat` on the KVM list): 2 %, less than
the margin of the throughput that it would cost. A feature is worth more (docs/ablations.md).
"""

_TIME = Margin(0.10, 0.010)
"""10 ns a packet: less than 1 % of that frame's time."""

_LOSS = Margin(0.10, 0.1)
"""Loss is in per cent, most often 0, and no ratio can be taken of that. 0.1 points are less than
one datagram or probe of a usual trial (345 and 500 are sent), so no trial that lost anything hides
below, and a mean over boots does only if most of them lost none."""

_EXITS_A_MIB = Margin(0.10, 0.7)
"""_EXITS, at 690 full frames a MiB."""

_EXITS_A_TRANSACTION = Margin(0.10, 0.002)
"""_EXITS, at the two frames that a transaction takes at least."""

_SEGMENTS = Margin(0.10, 1.0)
"""Of a whole trial: one segment more is none."""


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS = _table(
    # Measured by a workload.
    Metric(
        "throughput",
        "Throughput",
        "Mbit/s",
        "higher",
        HARDWARE,
        Margin(0.03),
        primary=True,
        chosen_for="most throughput",
    ),
    Metric("throughput_sent", "Throughput, sender's figure", "Mbit/s", "higher", HARDWARE),
    Metric("throughput_tx", "Throughput from the guest", "Mbit/s", "higher", HARDWARE),
    Metric("throughput_rx", "Throughput to the guest", "Mbit/s", "higher", HARDWARE),
    Metric("retransmits", "TCP retransmits", "segments", "lower", HARDWARE, _SEGMENTS),
    Metric("loss", "Loss", "%", "lower", HARDWARE, _LOSS, primary=True),
    Metric("jitter", "Jitter (RFC 3550)", "us", "lower", HARDWARE),
    Metric(
        "pps",
        "Packets delivered",
        "packets/s",
        "higher",
        HARDWARE,
        Margin(0.03),
        primary=True,
        chosen_for="most packets a second",
    ),
    Metric(
        "ndr",
        "Packets without loss (NDR)",
        "packets/s",
        "higher",
        HARDWARE,
        Margin(0.03),
        primary=True,
        chosen_for="most packets a second without loss",
    ),
    Metric("pdr", "Packets with 0.5 % loss (PDR)", "packets/s", "higher", HARDWARE, Margin(0.03)),
    Metric("pps_offered", "Packets offered", "packets/s", "none", HARDWARE),
    Metric("frame_loss", "Frames lost", "%", "lower", HARDWARE, _LOSS),
    Metric("rtt_min", "RTT, minimum", "us", "lower", HARDWARE),
    Metric(
        "rtt_p50",
        "RTT, median",
        "us",
        "lower",
        HARDWARE,
        Margin(0.03),
        primary=True,
        chosen_for="shortest round trip",
    ),
    Metric("rtt_p90", "RTT, p90", "us", "lower", HARDWARE),
    Metric("rtt_p99", "RTT, p99", "us", "lower", HARDWARE),
    Metric("rtt_p999", "RTT, p99.9", "us", "lower", HARDWARE),
    Metric("rtt_max", "RTT, maximum", "us", "lower", HARDWARE),
    Metric(
        "transactions",
        "Transactions",
        "trans/s",
        "higher",
        HARDWARE,
        Margin(0.03),
        primary=True,
        chosen_for="most transactions",
    ),
    Metric("behind_schedule", "Probes sent behind schedule", "%", "none", HARDWARE),
    # Derived by the report from the integers of a trial.
    Metric(
        "exits_per_packet",
        "Exits per packet (HLT apart)",
        "exits/packet",
        "lower",
        EVERYWHERE,
        _EXITS,
        primary=True,
        chosen_for="fewest exits",
    ),
    Metric(
        "mmio_exits_per_packet",
        "MMIO exits per packet",
        "exits/packet",
        "lower",
        EVERYWHERE,
        _EXITS,
    ),
    Metric(
        "exits_per_mib", "Exits per MiB (HLT apart)", "exits/MiB", "lower", EVERYWHERE, _EXITS_A_MIB
    ),
    Metric("exits_per_s", "Exits per second (HLT apart)", "exits/s", "lower", EVERYWHERE),
    Metric(
        "exit_time_per_packet",
        "CPU time in exits per packet (HLT apart)",
        "us/packet",
        "lower",
        HARDWARE,
        _TIME,
    ),
    Metric("exit_price_per_packet", "Price of exits per packet", "us/packet", "none", HARDWARE),
    Metric("halt_time_per_packet", "CPU time in HLT per packet", "us/packet", "none", HARDWARE),
    Metric(
        "guest_time_per_packet", "Guest's time per packet", "us/packet", "lower", HARDWARE, _TIME
    ),
    Metric(
        "vhost_time_per_packet", "vhost's time per packet", "us/packet", "lower", HARDWARE, _TIME
    ),
    Metric("qemu_time_per_packet", "QEMU's time per packet", "us/packet", "lower", HARDWARE, _TIME),
    Metric("rest_time_per_packet", "Remaining time per packet", "us/packet", "none", HARDWARE),
    Metric(
        "exit_time_share",
        "CPU time in exits (HLT apart), share of the vCPUs' time",
        "%",
        "lower",
        HARDWARE,
        Margin(0.10, 0.1),
    ),
    Metric("halt_time_share", "CPU time in HLT, share of the vCPUs' time", "%", "none", HARDWARE),
    Metric(
        "cpu_per_gbit",
        "Host CPU time per Gbit",
        "s/Gbit",
        "lower",
        HARDWARE,
        chosen_for="least host CPU",
    ),
    Metric("guest_cpu", "Guest CPU use", "%", "lower", HARDWARE),
    Metric("partner_cpu", "Partner's iperf3 CPU use", "%", "none", HARDWARE),
    Metric("guest_iperf3_cpu", "Guest's iperf3 CPU use", "%", "none", HARDWARE),
    Metric(
        "irqs_per_packet", "NIC's interrupts per packet", "irqs/packet", "lower", EVERYWHERE, _EXITS
    ),
    Metric(
        "timer_irqs_per_packet",
        "Guest's timer interrupts per packet",
        "irqs/packet",
        "none",
        EVERYWHERE,
    ),
    Metric("ipis_per_packet", "Guest's IPIs per packet", "irqs/packet", "none", EVERYWHERE),
    Metric(
        "exits_per_transaction",
        "Exits per transaction (HLT apart)",
        "exits/trans",
        "lower",
        EVERYWHERE,
        _EXITS_A_TRANSACTION,
    ),
    Metric(
        "irqs_per_transaction",
        "NIC's interrupts per transaction",
        "irqs/trans",
        "lower",
        EVERYWHERE,
        _EXITS_A_TRANSACTION,
    ),
    Metric(
        "cpu_per_transaction", "Host CPU time per transaction", "us/trans", "lower", HARDWARE, _TIME
    ),
)

IDLE_REASONS = frozenset({"hlt", "mwait"})
"""Exit reasons (lower case) whose time is the guest's idleness, not overhead: of it, what is spent
on a CPU is KVM's polling for the next wake-up (halt_poll_ns), and going to sleep and back."""

MMIO_REASONS = frozenset({"npf", "ept_misconfig", "ept_violation"})
"""Exit reasons (lower case) of an access to a device register that is not mapped: nested page
fault on SVM, EPT misconfiguration or violation on VMX (arch/x86/include/uapi/asm/{svm,vmx}.h)."""

PRIMARY = tuple(name for name, metric in METRICS.items() if metric.primary)


def metric_of(name: str) -> Metric:
    """What a metric means; one this version does not know is shown as it is."""
    return METRICS.get(name) or Metric(name, name, "", "none", frozenset())


@cache
def is_mmio(reason: str) -> bool:
    return reason.lower() in MMIO_REASONS


@cache
def is_idle(reason: str) -> bool:
    """Does an exit of this reason mean that the guest had nothing to do?"""
    return reason.lower() in IDLE_REASONS
