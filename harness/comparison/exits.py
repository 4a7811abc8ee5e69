"""What changed in the exits of a path, since that is what explains a change of its speed, and what
is likely to have caused it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from harness.core.facts import PathKind
from harness.core.metrics import MMIO_REASONS
from harness.records.ratios import packets_of
from harness.records.run import Run

LEAST = 0.01
"""Exits per packet: a change below this is none."""


@dataclass(frozen=True)
class ExitChange:
    """Exits per packet of one reason, medians over boots."""

    reason: str
    before: float
    after: float

    @property
    def rise(self) -> float:
        return self.after - self.before

    def __str__(self) -> str:
        return f"{self.reason} exits per packet {self.before:.3g} -> {self.after:.3g}"


def exit_changes(base: Run, new: Run, path: str, workload: str) -> tuple[ExitChange, ...]:
    """What changed in a path's exits under a workload, the largest change first."""
    sides = [_per_packet(run, path, workload) for run in (base, new)]
    changes = [
        ExitChange(reason, sides[0].get(reason, 0.0), sides[1].get(reason, 0.0))
        for reason in {**sides[0], **sides[1]}
    ]
    kept = [change for change in changes if abs(change.rise) >= LEAST]
    return tuple(sorted(kept, key=lambda change: -abs(change.rise)))


def _per_packet(run: Run, path: str, workload: str) -> dict[str, float]:
    """Exits per packet by reason: medians over trials, and of these over boots."""
    boots: dict[int, list[dict[str, float]]] = {}
    for trial in run.counted:
        if (trial.path, trial.workload) != (path, workload) or trial.exits is None:
            continue
        if packets := packets_of(trial):
            counts = Counter[str]()
            for each in trial.exits:
                counts[each.reason] += each.count
            ratios = {reason: count / packets for reason, count in counts.items()}
            boots.setdefault(trial.boot, []).append(ratios)
    # A reason that one of the trials has is a zero in the others.
    reasons = {reason for trials in boots.values() for ratios in trials for reason in ratios}
    return {
        reason: median(
            median(ratios.get(reason, 0.0) for ratios in trials) for trials in boots.values()
        )
        for reason in sorted(reasons)
    }


@dataclass(frozen=True)
class _Fingerprint:
    """A rise of these reasons on paths of these kinds points to this cause."""

    kinds: tuple[PathKind, ...]  # none: any
    reasons: frozenset[str]
    cause: str


_VFIO: tuple[PathKind, ...] = ("vf", "passthrough")
_VIRTIO: tuple[PathKind, ...] = ("virtio",)

_FINGERPRINTS = (
    _Fingerprint(
        _VFIO, MMIO_REASONS,
        "a BAR is trapped, often the one with the MSI-X table: x-no-mmap, a BAR smaller than a "
        "page, or a page that it shares with the table; or the guest's APIC is not in x2APIC mode",
    ),
    _Fingerprint(
        _VIRTIO, MMIO_REASONS,
        "more doorbells: event_idx is off, or batches are smaller since the device keeps up",
    ),
    _Fingerprint(
        (), MMIO_REASONS,
        "the driver touches more of the emulated NIC's registers a packet",
    ),
    _Fingerprint(
        (), frozenset({"msr", "msr_write", "write_msr", "msr_read", "read_msr", "apic_write"}),
        "more interrupts or timers: each end of interrupt is an MSR write, and none is virtualised "
        "(AVIC, APICv)",
    ),
    _Fingerprint(
        (), frozenset({"interrupt", "external_interrupt", "intr"}),
        "more host interrupts on the guest's CPU: interrupts are not posted, or less moderated",
    ),
    _Fingerprint(
        (), frozenset({"vintr", "interrupt_window", "pending_interrupt"}),
        "interrupts reach the guest while it has them disabled, and wait for a window",
    ),
    _Fingerprint(
        (), frozenset({"io", "io_instruction"}),
        "port I/O: the guest polls an emulated timer, or its driver a device in I/O space",
    ),
    _Fingerprint(
        (), frozenset({"pause", "pause_instruction"}),
        "the guest spins: a virtual CPU that holds a lock does not run",
    ),
)  # fmt: skip


def likely_causes(kind: PathKind, changes: Sequence[ExitChange]) -> Iterator[str]:
    """What the reasons that rose on a path of this kind point to, the largest rise first; each
    cause once."""
    seen: set[str] = set()
    for change in changes:
        for known in _FINGERPRINTS:
            fits = change.reason.lower() in known.reasons and (
                kind in known.kinds or not known.kinds
            )
            if change.rise > 0 and fits:
                if known.cause not in seen:
                    seen.add(known.cause)
                    yield known.cause
                break
