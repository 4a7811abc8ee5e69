"""The figures of a trial. Every ratio is made here, from integers that were counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.core.metrics import is_idle, is_mmio
from harness.core.percentiles import summarise
from harness.core.units import MIB, NS_PER_S, NS_PER_US
from harness.records.trial import DELIVERED, IDLE, TRANSACTIONS, TrialRecord

_IRQS = {
    "irqs_per_packet": "irq.device",
    "timer_irqs_per_packet": "irq.timer",
    "ipis_per_packet": "irq.ipi",
}
"""Metric -> counter."""

_BITS_PER_GBIT = 8 / 1e9  # Gbit in a byte


def packets_of(trial: TrialRecord) -> int | None:
    """Frames on the wire in the window, both ways, counted at the partner's port; of those that are
    counted as they are sent the delivered ones, for the others cost the path nothing."""
    if DELIVERED in trial.counters:
        return _sum_of(trial, DELIVERED, "partner.rx_packets")
    return _sum_of(trial, "partner.rx_packets", "partner.tx_packets")


def octets_of(trial: TrialRecord) -> int | None:
    """Bytes of the same."""
    to_guest = "guest.rx_bytes" if DELIVERED in trial.counters else "partner.tx_bytes"
    return _sum_of(trial, "partner.rx_bytes", to_guest)


def watched_ns(trial: TrialRecord) -> int:
    """How long exits, CPU time, interrupts and the host's interface were counted."""
    return trial.window_ns + trial.wider_ns


def is_guest(trial: TrialRecord) -> bool:
    """Does its traffic end in a guest, and not on the host itself?"""
    return "cpu.vcpu_ns" in trial.counters


def values_of(trial: TrialRecord) -> dict[str, float]:
    """All metrics of a trial by name: what its workload measured, and the ratios made here.

    A ratio whose parts were not recorded is absent, never zero.
    """
    exits = _exits_of(trial)
    ratios = (
        *_exit_ratios(trial, exits),
        *_cpu_ratios(trial, exits),
        *_transaction_ratios(trial, exits),
    )
    return {**measured_of(trial), **dict(ratios)}


def measured_of(trial: TrialRecord) -> dict[str, float]:
    """What the workload measured. Records of a prober that waited for each answer (they name an
    interval and no schedule) hold percentiles of too few probes, without those that were lost;
    these are made anew."""
    if not trial.rtt_ns or "interval" not in trial.parameters:
        return trial.metrics
    others = {name: v for name, v in trial.metrics.items() if not name.startswith("rtt_")}
    return others | summarise(trial.rtt_ns, trial.lost, round(timeout_us(trial) * NS_PER_US))


def timeout_us(trial: TrialRecord) -> float:
    """How long a probe or a request waits for its answer, in us: what a lost one counts as; else
    infinity."""
    seconds = trial.parameters.get("timeout", "")
    return float(seconds) * 1e6 if seconds else math.inf


@dataclass(frozen=True)
class _Exits:
    """What a trial's exits sum up to: of a guest that had nothing to do, polling for an end of that
    included, and the others.

    CPU time is that of the vCPU threads in exits, i.e. what KVM, QEMU, and interrupts of the host
    that came meanwhile, took. None where it was not counted.
    """

    count: int  # of the others
    mmio: int  # of these
    busy_ns: int | None
    idle_ns: int | None


def _exits_of(trial: TrialRecord) -> _Exits | None:
    """None if they were not counted."""
    if trial.exits is None:
        return None
    count = mmio = busy_ns = idle_ns = 0
    timed = "vcpus.window_ns" in trial.counters
    for exit_ in trial.exits:
        cpu_ns = exit_.cpu_ns or 0
        timed = timed and exit_.cpu_ns is not None
        if is_idle(exit_.reason):
            idle_ns += cpu_ns
            continue
        busy_ns += cpu_ns
        count += exit_.count
        if is_mmio(exit_.reason):
            mmio += exit_.count
    return _Exits(count, mmio, *((busy_ns, idle_ns) if timed else (None, None)))


def _exit_ratios(trial: TrialRecord, exits: _Exits | None) -> Iterator[tuple[str, float]]:
    if exits is None or trial.window_ns <= 0:
        return
    spent = {"exit": exits.busy_ns, "halt": exits.idle_ns}
    for name, time_ns in spent.items():
        if time_ns is not None:
            yield f"{name}_time_share", 100 * time_ns / trial.counters["vcpus.window_ns"]
    if trial.workload == IDLE:
        yield "exits_per_s", exits.count * NS_PER_S / watched_ns(trial)
        return
    if packets := packets_of(trial):
        yield "exits_per_packet", exits.count / packets
        yield "mmio_exits_per_packet", exits.mmio / packets
        for name, time_ns in spent.items():
            if time_ns is not None:
                yield f"{name}_time_per_packet", time_ns / NS_PER_US / packets
    if octets := octets_of(trial):
        yield "exits_per_mib", exits.count * MIB / octets


def _cpu_ratios(trial: TrialRecord, exits: _Exits | None) -> Iterator[tuple[str, float]]:
    counters = trial.counters
    total = counters.get("guest.cpu_total_ns")
    if total and is_guest(trial) and trial.guest_wider_ns is not None:
        yield "guest_cpu", 100 * counters.get("guest.cpu_busy_ns", 0) / total
    if trial.workload == IDLE:
        return
    octets = octets_of(trial)
    busy = _sum_of(trial, "cpu.vcpu_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if octets and busy is not None:
        yield "cpu_per_gbit", busy / NS_PER_S / (octets * _BITS_PER_GBIT)
    packets = packets_of(trial)
    if not packets:
        return
    for metric, kind in _IRQS.items():
        # Timers and IPIs of a machine that is not a guest are not the path's.
        if kind in counters and (metric == "irqs_per_packet" or is_guest(trial)):
            yield metric, counters[kind] / packets
    price = _price_ns(trial)
    if price:
        yield "exit_price_per_packet", price / NS_PER_US / packets
    for name in ("guest", "vhost", "qemu"):
        if (spent := counters.get(f"cpu.{name}_ns")) is not None:
            spent -= price if name == "guest" else 0
            yield f"{name}_time_per_packet", spent / NS_PER_US / packets
    known = _sum_of(trial, "cpu.guest_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if trial.clock != "virtual" or known is None or exits is None:
        return
    if exits.busy_ns is not None and exits.idle_ns is not None:
        # Such a lab has one CPU, so nothing goes on beside the rest.
        rest = watched_ns(trial) - known - exits.busy_ns - exits.idle_ns
        yield "rest_time_per_packet", max(0, rest) / NS_PER_US / packets


def _transaction_ratios(trial: TrialRecord, exits: _Exits | None) -> Iterator[tuple[str, float]]:
    transactions = trial.counters.get(TRANSACTIONS)
    if not transactions:
        return
    if exits is not None:
        yield "exits_per_transaction", exits.count / transactions
    if (irqs := trial.counters.get("irq.device")) is not None:
        yield "irqs_per_transaction", irqs / transactions
    busy = _sum_of(trial, "cpu.vcpu_ns", "cpu.vhost_ns", "cpu.qemu_ns")
    if busy is not None:
        yield "cpu_per_transaction", busy / NS_PER_US / transactions


def _price_ns(trial: TrialRecord) -> int:
    """What the exits cost beside their handlers' instructions, in a lab that charges for them. It
    passes between the guest's last instruction and the host's first, so the guest's time has it."""
    return trial.exit_cost_ns * sum(each.count for each in trial.exits or ())


def _sum_of(trial: TrialRecord, *names: str) -> int | None:
    """The sum of counters; None if one was not read."""
    try:
        return sum([trial.counters[name] for name in names])
    except KeyError:
        return None
