"""Paravirtual NICs: the guest rings a doorbell per batch, served by QEMU or the host's kernel."""

from __future__ import annotations

from harness.core.facts import PathFacts
from harness.paths.emulated import Tapped

VIRTIO = (
    Tapped(
        "virtio",
        "virtio-net served by QEMU",
        "virtio-net-pci",
        "virtio_net",
        PathFacts(kind="virtio", colour="#1d4098"),
        usual=True,
        varies=("virtio", "queues"),
    ),
    Tapped(
        "virtio-vhost",
        "virtio-net served by the kernel's vhost-net",
        "virtio-net-pci",
        "virtio_net",
        PathFacts(kind="virtio", colour="#0072b2"),
        vhost=True,
        usual=True,
        varies=("virtio", "vhost", "queues"),
        needs=("KVM", "kernel module macvtap", "kernel module vhost-net"),
    ),
)
