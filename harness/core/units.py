"""Metrics: their unit, which direction is better, and at which fidelity they are evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fidelity = Literal["hardware", "nested-kvm", "nested-tcg"]
Clock = Literal["wall", "virtual"]
"""Whose seconds are measured: the world's, or the instructions that an emulated CPU executed."""
ClockChoice = Literal["auto", "virtual", "wall"]
"""A clock as asked for; auto: virtual wherever a lab is emulated and can have it, else wall."""

Better = Literal["lower", "higher", "none"]

Grounds = Literal["silicon", "software", "lab"]
"""How far a number may be relied upon: as what real hardware would do; as the cost of the software
on the path, in instructions; or as what one emulated lab did, and no further."""

EVERYWHERE: frozenset[Fidelity] = frozenset({"hardware", "nested-kvm", "nested-tcg"})
HARDWARE: frozenset[Fidelity] = frozenset({"hardware"})

NS_PER_S = 1_000_000_000
MIB = 1 << 20


_TIMED = {"s", "us"}
"""Parts of a unit that have seconds in them."""


@dataclass(frozen=True)
class Metric:
    """What a number means. `evidence` holds the fidelities at which it tells of silicon."""

    name: str
    label: str
    unit: str
    better: Better
    evidence: frozenset[Fidelity]

    def grounds(self, fidelity: Fidelity, clock: Clock) -> Grounds:
        if fidelity in self.evidence:
            return "silicon"
        return "software" if clock == "virtual" else "lab"

    def unit_by(self, clock: Clock) -> str:
        """The unit; where seconds are in it, it says whose."""
        timed = not _TIMED.isdisjoint(self.unit.split("/"))
        return f"virtual {self.unit}" if clock == "virtual" and timed else self.unit


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


METRICS = _table(
    # Measured by a workload.
    Metric("throughput", "Throughput", "Mbit/s", "higher", HARDWARE),
    Metric("throughput_sent", "Throughput, sender's figure", "Mbit/s", "higher", HARDWARE),
    Metric("throughput_tx", "Throughput from the guest", "Mbit/s", "higher", HARDWARE),
    Metric("throughput_rx", "Throughput to the guest", "Mbit/s", "higher", HARDWARE),
    Metric("retransmits", "TCP retransmits", "segments", "lower", HARDWARE),
    Metric("loss", "Loss", "%", "lower", HARDWARE),
    Metric("jitter", "Jitter (RFC 3550)", "us", "lower", HARDWARE),
    Metric("rtt_min", "RTT, minimum", "us", "lower", HARDWARE),
    Metric("rtt_p50", "RTT, median", "us", "lower", HARDWARE),
    Metric("rtt_p90", "RTT, p90", "us", "lower", HARDWARE),
    Metric("rtt_p99", "RTT, p99", "us", "lower", HARDWARE),
    Metric("rtt_p999", "RTT, p99.9", "us", "lower", HARDWARE),
    Metric("rtt_max", "RTT, maximum", "us", "lower", HARDWARE),
    Metric("behind_schedule", "Probes sent behind schedule", "%", "none", HARDWARE),
    # Derived by the report from the integers of a trial.
    Metric("exits_per_packet", "Exits per packet (HLT apart)", "exits/packet", "lower", EVERYWHERE),
    Metric("mmio_exits_per_packet", "MMIO exits per packet", "exits/packet", "lower", EVERYWHERE),
    Metric("exits_per_mib", "Exits per MiB (HLT apart)", "exits/MiB", "lower", EVERYWHERE),
    Metric("exits_per_s", "Exits per second (HLT apart)", "exits/s", "lower", EVERYWHERE),
    Metric(
        "exit_time_per_packet", "CPU time in exits per packet (HLT apart)", "us/packet", "lower",
        HARDWARE,
    ),
    Metric("halt_time_per_packet", "CPU time in HLT per packet", "us/packet", "none", HARDWARE),
    Metric("guest_time_per_packet", "Guest's time per packet", "us/packet", "lower", HARDWARE),
    Metric("vhost_time_per_packet", "vhost's time per packet", "us/packet", "lower", HARDWARE),
    Metric("qemu_time_per_packet", "QEMU's time per packet", "us/packet", "lower", HARDWARE),
    Metric("rest_time_per_packet", "Remaining time per packet", "us/packet", "none", HARDWARE),
    Metric(
        "exit_time_share", "CPU time in exits (HLT apart), share of the vCPUs' time", "%", "lower",
        HARDWARE,
    ),
    Metric(
        "halt_time_share", "CPU time in HLT, share of the vCPUs' time", "%", "none", HARDWARE
    ),
    Metric("cpu_per_gbit", "Host CPU time per Gbit", "s/Gbit", "lower", HARDWARE),
    Metric("guest_cpu", "Guest CPU use", "%", "lower", HARDWARE),
    Metric("partner_cpu", "Partner's iperf3 CPU use", "%", "none", HARDWARE),
    Metric("guest_iperf3_cpu", "Guest's iperf3 CPU use", "%", "none", HARDWARE),
    Metric("irqs_per_packet", "NIC's interrupts per packet", "irqs/packet", "lower", EVERYWHERE),
    Metric(
        "timer_irqs_per_packet", "Guest's timer interrupts per packet", "irqs/packet", "none",
        EVERYWHERE,
    ),
    Metric("ipis_per_packet", "Guest's IPIs per packet", "irqs/packet", "none", EVERYWHERE),
)  # fmt: skip

IDLE_REASONS = frozenset({"hlt", "mwait"})
"""Exit reasons (lower case) whose time is the guest's idleness, not overhead: of it, what is spent
on a CPU is KVM's polling for the next wake-up (halt_poll_ns), and going to sleep and back."""

MMIO_REASONS = frozenset({"npf", "ept_misconfig", "ept_violation"})
"""Exit reasons (lower case) of an access to a device register that is not mapped: nested page
fault on SVM, EPT misconfiguration or violation on VMX (arch/x86/include/uapi/asm/{svm,vmx}.h)."""
