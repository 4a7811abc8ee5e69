"""The report's sentences that depend on the data: the headline, the lead, the fidelity."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from harness.core.metrics import METRICS, Grounds
from harness.core.units import Fidelity, is_virtual
from harness.records.ratios import is_guest
from harness.records.run import Run
from harness.stats import estimates
from harness.stats.estimates import Estimate
from reports.run import style
from reports.run.tables import Estimates

_MEANING: dict[Fidelity, str] = {
    "hardware": "Measured on the machine itself, with its NIC and its virtualisation hardware. The "
    "figures hold for this host, this NIC and this software.",
    "nested-kvm": "Measured in a lab VM that had hardware virtualisation, with QEMU's model of the "
    "NIC. Guests, KVM, vfio and drivers are the real ones, so what they do, and how often, is "
    "evidence. The device and the wire are software: times and rates contain its cost.",
    "nested-tcg": "Measured in a lab VM whose processor QEMU emulates, with QEMU's model of the "
    "NIC. Guests, KVM, vfio and drivers are the real ones, so how often a guest exits, and why, is "
    "evidence. Every instruction and the device itself are emulated: times, rates and CPU use "
    "show how this lab behaves, and say nothing about silicon.",
}


_VIRTUAL = (
    "Measured in a lab VM whose processor QEMU emulates, with QEMU's model of the NIC, by a "
    "virtual clock: each instruction takes 1 ns, devices and the wire take nothing, and neither "
    "does the hardware's own switch between guest and host. Guests, KVM, vfio and drivers are the "
    "real ones. So how often a guest exits, and why, is evidence as it stands; and every virtual "
    "second, microsecond and Mbit/s counts instructions of the software on the path: guest kernel, "
    "KVM, QEMU, vhost, and the link partner's end. They repeat on any machine, however busy, and "
    "say which path costs more software, and how much; they are no rates of a NIC. Its link keeps "
    "to no speed, so a port of 1 Gbit/s carries what the software can. "
)

_ONE_CPU = "The lab has one CPU, on which guest, host and partner take turns."


def _several(cpus: int) -> str:
    return (
        f"The lab has {cpus} CPUs, each with a time of its own: guest, host and partner work side "
        "by side, so a rate is that of whoever is the slowest."
    )


_KINDS: dict[Grounds, str] = {
    "silicon": "Evidence",
    "software": "Evidence for the software path",
    "lab": "Not evidence for silicon",
}


@dataclass(frozen=True)
class Ranked:
    """A path with its figure."""

    path: str
    figure: Estimate


def headline(run: Run, found: Estimates) -> str:
    """What the run says, in one or two sentences."""
    if not run.trials:
        return "No trial was finished: there is nothing to compare."
    if not run.counted:
        total = _count(len(run.trials), "trial")
        return f"Of {total} none is valid: there is nothing to compare."
    metric = "exits_per_packet"
    rankings = [
        (workload, _ranked(run, found, workload, metric))
        for workload in _workloads_with(run, found, metric)
    ]
    if not rankings:
        return "VM exits per packet were not measured in this run: see the tables."
    return " ".join(_exits_sentence(run, workload, ranked) for workload, ranked in rankings)


def lead(run: Run, found: Estimates) -> list[str]:
    """What qualifies the headline: device accesses, the number of boots."""
    notes = [*_mmio_notes(run, found), *_boots_note(found), *_apart_note(run), *_guest_note(run)]
    if run.info.options:
        options = ", ".join(f"{k} = {v}" for k, v in run.info.options.items())
        notes.append(f"Options: {options}.")
    return notes


def interrupted(run: Run) -> str:
    """The warning on top of a run that did not come to its end; empty if it did."""
    if run.info.finished:
        return ""
    blocks = len({t.block for t in run.trials})
    return (
        f"This run was interrupted, or is still going: {_count(len(run.trials), 'trial')} in "
        f"{blocks} of {_count(run.info.boots, 'block')}. What follows rests on those."
    )


def fidelity(run: Run, found: Estimates) -> tuple[str, list[tuple[str, str]]]:
    """What this fidelity means, and which of the run's metrics are evidence at it."""
    text = _MEANING[run.info.fidelity]
    if is_virtual(run.info.clock):
        cpus = run.info.lab_cpus
        text = _VIRTUAL + (_several(cpus) if run.info.clock == "virtual-smp" else _ONE_CPU)
    names = {metric for _, _, metric in found}
    metrics = [METRICS[name] for name in METRICS if name in names]
    by_grounds: dict[Grounds, list[str]] = {}
    for metric in metrics:
        by_grounds.setdefault(run.grounds(metric.name), []).append(metric.label)
    return text, [
        (name, "; ".join(by_grounds[grounds]))
        for grounds, name in _KINDS.items()
        if grounds in by_grounds
    ]


def phrase(run: Run, workload: str) -> str:
    """How a sentence about a workload begins."""
    return run.workload_facts(workload).phrase or f"Under {workload}"


def _exits_sentence(run: Run, workload: str, ranked: list[Ranked]) -> str:
    start = phrase(run, workload)
    low, high = ranked[0], ranked[-1]
    if low is high:
        return f"{start}, {low.path} needs {_amount(low)} per packet."
    between = next((r for r in ranked[1:-1] if run.path_facts(r.path).kind == "vf"), None)
    middle = f", {between.path} {style.rough(between.figure.value)}" if between else ""
    text = (
        f"{start}, {low.path} needs {_amount(low)} per packet{middle}, "
        f"{high.path} {style.rough(high.figure.value)}"
    )
    if low.figure.high >= high.figure.low:
        return f"{text}: no difference beyond the spread of the boots."
    if low.figure.value == 0:
        return f"{text}."
    return f"{text}: {style.times(high.figure.value / low.figure.value)} times as many."


def _amount(ranked: Ranked) -> str:
    value = ranked.figure.value
    return "no exit" if value == 0 else f"{style.rough(value)} exits"


def _mmio_notes(run: Run, found: Estimates) -> list[str]:
    """Accesses to device registers that trap, the cost that passthrough is meant to remove."""
    for workload in _workloads_with(run, found, "mmio_exits_per_packet")[:1]:
        ranked = _ranked(run, found, workload, "mmio_exits_per_packet")
        none = [r.path for r in ranked if r.figure.high == 0]
        some = [f"{r.path} {style.rough(r.figure.value)}" for r in ranked if r.figure.high > 0]
        parts = ([f"none with {_and(none)}"] if none else []) + some
        return [f"Of those, trapped accesses to device registers ({workload}): {', '.join(parts)}."]
    return []


def _boots_note(found: Estimates) -> list[str]:
    counts = sorted({figure.boots for figure in found.values()})
    if not counts or counts[0] >= estimates.MIN_BLOCKS:
        return []
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    plural = "" if counts == [1] else "s"
    return [
        f"Indicative: {span} boot{plural} a path; intervals and verdicts need "
        f"{estimates.MIN_BLOCKS}."
    ]


def _apart_note(run: Run) -> list[str]:
    """What is counted on the host under test holds more than the traffic, if that is driven from
    another one."""
    wider = sorted(t.wider_ns / 1e6 for t in run.counted if t.wider_ns)
    if not wider:
        return []
    return [
        f"The link partner is on another host, {run.info.partner_host}. So exits, CPU time and "
        "interrupts were counted from just before the traffic until just after it, "
        f"{statistics.median(wider):.0f} ms longer than it took (median, at most {wider[-1]:.0f} "
        "ms): they hold what the guest does idle in that time, which its idle baseline tells."
    ]


def _guest_note(run: Run) -> list[str]:
    """By how much what the guest counts itself is wider than the traffic."""
    guests = [t for t in run.counted if is_guest(t)]
    if not guests:
        return []
    wider = sorted(t.guest_wider_ns / 1e6 for t in guests if t.guest_wider_ns is not None)
    if len(wider) < len(guests):
        return [
            "The guest's CPU use and interrupts are left out: the version that measured read them "
            "before and after the window, by how much is not known."
        ]
    unit = "virtual ms" if is_virtual(run.info.clock) else "ms"
    return [
        "The guest's own counters (CPU use, interrupts) were read at the window's edges, together "
        f"at most {statistics.median(wider):.2g} {unit} wider (median; at most {wider[-1]:.2g})."
    ]


def _workloads_with(run: Run, found: Estimates, metric: str) -> list[str]:
    """The workloads that are summed up by this metric; if none, the first other that has it."""
    have = [w for w in run.workloads if any((p, w, metric) in found for p in run.paths)]
    return [w for w in have if metric in run.workload_facts(w).summary] or have[:1]


def _ranked(run: Run, found: Estimates, workload: str, metric: str) -> list[Ranked]:
    keys = [(path, workload, metric) for path in run.paths]
    ranked = [Ranked(key[0], found[key]) for key in keys if key in found]
    return sorted(ranked, key=lambda r: r.figure.value)


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
