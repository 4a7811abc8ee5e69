"""What a run says of its paths and workloads; for a run that was made before runs did, what those
of its time were."""

from __future__ import annotations

from harness.core.facts import PathFacts, PathKind, WorkloadFacts
from harness.records.trial import RunInfo


def path_facts(info: RunInfo, name: str) -> PathFacts:
    """Of a path of this run; of one that nothing is known of, that it is another kind."""
    return info.path_facts.get(name) or _PATHS_BEFORE.get(name, PathFacts())


def workload_facts(info: RunInfo, name: str) -> WorkloadFacts:
    """Of a workload of this run."""
    return info.workload_facts.get(name) or _WORKLOADS_BEFORE.get(name, WorkloadFacts())


def _before(kind: PathKind, **colours: str) -> dict[str, PathFacts]:
    return {
        name.replace("_", "-"): PathFacts(kind=kind, colour=colour)
        for name, colour in colours.items()
    }


# Runs of before 2026-11-28. Nothing is ever added here.
_PATHS_BEFORE = {
    **_before("native", native="#4d4d4d"),
    **_before("vf", sriov="#009e73"),
    **_before("passthrough", passthrough="#cc79a7"),
    **_before("virtio", virtio="#56b4e9", virtio_vhost="#0072b2"),
    **_before("emulated", e1000="#e69f00", e1000e="#d55e00", vmxnet3="#882255", rtl8139="#999933"),
}
_STREAM = ("exits_per_packet", "mmio_exits_per_packet", "throughput")
_WORKLOADS_BEFORE = {
    "tcp-tx": WorkloadFacts(phrase="Sending TCP", summary=(*_STREAM, "cpu_per_gbit")),
    "tcp-rx": WorkloadFacts(phrase="Receiving TCP", summary=_STREAM),
    "tcp-bidir": WorkloadFacts(phrase="With TCP both ways"),
    "udp": WorkloadFacts(phrase="Under UDP", paced=True),
    "latency": WorkloadFacts(
        phrase="Answering single frames", summary=("rtt_p50", "rtt_p99"), paced=True
    ),
}
