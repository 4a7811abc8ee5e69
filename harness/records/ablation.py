"""Single features taken away or put in, with what that should do to a path.

Each is run by `nicproof ab --ablate NAME`. What is expected is a claim that the report tests: one
that fails is worth as much as one that holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["more", "less", "the same"]


@dataclass(frozen=True)
class Expected:
    """What a metric, by its name in METRICS, should do on these paths, and why."""

    metric: str
    direction: Direction
    why: str
    workloads: tuple[str, ...] = ()  # of which this is said; of all if empty

    def of(self, workload: str) -> bool:
        return not self.workloads or workload in self.workloads

    @property
    def description(self) -> str:
        """In one line."""
        where = f" in {', '.join(self.workloads)}" if self.workloads else ""
        return f"{self.metric}: {self.direction}{where}, since {self.why}"


@dataclass(frozen=True)
class Ablation:
    """Two configurations, as `nicproof ab` takes them by --a and --b."""

    name: str
    paths: tuple[str, ...]
    a: str
    b: str
    expected: tuple[Expected, ...]

    def workloads(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `usual` of which something is expected."""
        return tuple(load for load in usual if any(each.of(load) for each in self.expected))


MMIO, EXITS, IRQS, QEMU = (
    "mmio_exits_per_packet",
    "exits_per_packet",
    "irqs_per_packet",
    "qemu_time_per_packet",
)
STREAM, ECHO = ("tcp-tx", "tcp-rx"), ("latency",)
_VIRTIO = ("virtio-vhost",)

ALL = (
    Ablation(
        "x-no-mmap", ("sriov",), "", "--vfio x-no-mmap=on",
        (Expected(MMIO, "more", "no BAR is mapped: each access to a register exits to QEMU"),),
    ),
    Ablation(
        "x-no-kvm-msix", ("sriov",), "", "--vfio x-no-kvm-msix=on",
        (Expected(QEMU, "more", "QEMU hands on each MSI-X interrupt, instead of an irqfd"),),
    ),
    Ablation(
        "x-no-kvm-intx", ("passthrough",),
        "--guest-append pci=nomsi", "--guest-append pci=nomsi --vfio x-no-kvm-intx=on",
        (Expected(QEMU, "more", "QEMU raises and lowers INTx, instead of irqfd and resamplefd"),),
    ),
    Ablation(
        "rombar", ("sriov",), "--vfio rombar=1", "--vfio rombar=0",
        (Expected(EXITS, "the same", "the option ROM is read at boot, never by traffic"),),
    ),
    Ablation(
        "vhost", _VIRTIO, "--vhost on", "--vhost off",
        (Expected(QEMU, "more", "QEMU copies each packet, instead of the kernel"),),
    ),
    Ablation(
        "mq", _VIRTIO, "--guest-cpus 2", "--guest-cpus 2 --queues 2",
        (Expected(EXITS, "less", "the vCPU that waits gets the interrupt: no IPI wakes it", ECHO),),
    ),
    Ablation(
        "packed", _VIRTIO, "", "--virtio packed=on",
        (Expected(EXITS, "the same", "the ring's layout saves cache misses, not doorbells"),),
    ),
    Ablation(
        "event_idx", _VIRTIO, "", "--virtio event_idx=off",
        (Expected(MMIO, "more", "QEMU or vhost at work cannot ask for no doorbell", STREAM),),
    ),
    Ablation(
        "indirect_desc", _VIRTIO, "", "--virtio indirect_desc=off",
        (Expected(EXITS, "the same", "descriptors lie in the ring itself; it is long enough"),),
    ),
    Ablation(
        "rx-usecs", ("sriov",), "--rx-usecs 100", "--rx-usecs 0",
        (Expected(IRQS, "more", "nothing holds back the NIC's interrupts", ("tcp-rx",)),),
    ),
    Ablation(
        "irqchip-split", ("sriov",), "", "--guest-machine kernel-irqchip=split",
        (Expected(EXITS, "the same", "the local APIC, all that MSI-X needs, stays in the kernel"),),
    ),
    Ablation(
        "pv-eoi", ("sriov",), "", "--guest-cpu host,-kvm-pv-eoi",
        (Expected(EXITS, "more", "the guest writes each end of interrupt to an MSR, which exits"),),
    ),
    Ablation(
        "x2apic", ("sriov",),
        "--guest-cpu host,-kvm-pv-eoi", "--guest-cpu host,-kvm-pv-eoi,-x2apic",
        (Expected(MMIO, "more", "an end of interrupt is a write to a page, not to an MSR"),),
    ),
)  # fmt: skip

BY_NAME = {each.name: each for each in ALL}
NAMES = tuple(BY_NAME)
