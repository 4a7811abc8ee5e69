"""What a run leaves behind: plain data, complete enough to be judged without the host.

Integers are stored as counted (exits, ns, packets, bytes); every ratio is derived in reports.
What there are many of is no business of Python's garbage collector (`gc=False`): no record refers
to itself, and to look for that again and again takes a third of the time in which a run is read.
"""

from __future__ import annotations

import msgspec

from harness.core.facts import PathFacts, WorkloadFacts
from harness.core.units import Clock, Fidelity

SCHEMA = 1
"""Version of these structures; a store with another one is refused by name."""

IDLE = "idle"
"""The workload that is none: a window without traffic, the baseline of a guest."""


TUNING = "tuning"
"""The section of RunInfo.environment that says how the host was tuned for the run."""

PLACEMENT = "placement"
"""The section that says which CPU has what of a run; with several configurations, see `section`,
one for each."""

DECIDING = "deciding"
"""RunInfo.options: the figures that decide a comparison, "path/workload/metric" with commas."""


STAMPS, CLIENT, SERVER = "time stamps", "iperf3 of the partner", "iperf3 of the guest"
"""TrialRecord.instruments: whose time stamps round trips have ("kernel software", or USER), and
which iperf3 either end has."""

SENT, DELIVERED, SURPLUS = "frames.sent", "frames.delivered", "frames.surplus"
DROPPED = "dropped."
"""TrialRecord.counters of a workload whose frames are counted; what follows DROPPED is the place.
"""

USER = "user"
"""The prober's own clock, system calls and wake-up included."""


TRANSACTIONS = "work.transactions"
"""TrialRecord.counters: requests that were answered in the whole window, warm-up included."""


class ExitCount(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Exits of one reason, by one guest's vCPU threads, inside one window."""

    reason: str  # as the host's kernel names it, e.g. "npf", "EPT_MISCONFIG", "hlt"
    count: int
    time_ns: int  # from kvm_exit to the next kvm_entry, summed
    cpu_ns: int | None = None  # of that, on a CPU; None: not counted by the version that wrote it


class WireSample(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """Bytes that had crossed the partner's port, `ns` after the window's opening."""

    ns: int
    rx_bytes: int
    tx_bytes: int


class Proof(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One piece of evidence that the traffic went where the record says."""

    name: str  # e.g. "driver", "mac", "bytes-agree"
    holds: bool
    detail: str


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One window of one workload on one path, in one boot of its guest."""

    run: str
    index: int  # order in which the run's trials were made, from 0
    fidelity: Fidelity
    clock: Clock = "wall"
    exit_cost_ns: int = 0  # that each exit took beside its handler's instructions (--exit-cost)
    host: str
    nic: str  # model and BDF, e.g. "82576 0000:01:00.0"
    path: str
    variant: str = ""  # of several configurations that were interleaved: which one
    workload: str  # e.g. "tcp-tx": directions are the guest's
    block: int  # the randomised block; in each, every path is booted once
    boot: int  # boot of this path's guest, from 0
    trial: int  # trial of this workload in this boot, from 0
    warmup: bool = False
    started: str  # UTC, ISO 8601
    window_ns: int
    wider_ns: int = 0
    """How much longer than the traffic's window the host under test was watched, whose exits, CPU
    time, interrupts and interface then hold that too: its link partner is on another host."""
    guest_wider_ns: int | None = None
    """At most how much longer than the traffic's window the counters guest.* and irq.device,
    irq.timer, irq.ipi, irq.other were watched; None: by how much is not known, for the version
    that wrote it read them by commands, before the window and after it."""
    valid: bool
    reasons: tuple[str, ...] = ()  # why it is not valid, in words
    metrics: dict[str, float] = {}  # by names of harness.core.metrics.METRICS, in their units
    exits: tuple[ExitCount, ...] | None = None  # None: no guest, or none were counted
    counters: dict[str, int] = {}
    """Differences over the window. Keys used by the reports:
    partner.rx_packets partner.tx_packets partner.rx_bytes partner.tx_bytes: frames on the wire
    guest.{rx,tx}_{packets,bytes}: the guest interface's own counters
    guest.retransmitted partner.retransmitted: TCP segments that either sent again
    guest.udp_dropped: UDP datagrams that arrived, but found their socket full
    guest.rx_missed: frames that the guest's driver or NIC had no room for
    guest.ip_received: IPv4 packets that came as far as its kernel's IP
    host.{rx,tx}_{packets,bytes}: the PF's interface on the host
    frames.{sent,delivered,surplus}, dropped.<place>: where each frame is counted
    port.{rx_packets,rx_missed} tap.{rx_packets,rx_missed}: there, of the PF and of the macvtap
    cpu.vcpu_ns cpu.vhost_ns cpu.qemu_ns: CPU time of the threads on the host
    vcpus.window_ns: the vCPUs' number times the time that they were watched
    cpu.guest_ns: of that, their time in the guest, i.e. in no exit
    guest.cpu_busy_ns guest.cpu_total_ns: of all CPUs where the traffic ends
    irq.device irq.timer irq.ipi irq.other: interrupts there: the interface's own, timers, what
    CPUs send one another, the rest. irq.guest: all of them, in records of before
    irq.host: all of the host
    work.transactions: requests that were answered"""
    rtt_ns: tuple[int, ...] = ()  # every round trip, in order of sending; latency only
    wire: tuple[WireSample, ...] = ()  # of workloads of a fixed size
    lost: int = 0  # probes or requests without an answer; latency and udp-rr only
    proofs: tuple[Proof, ...] = ()
    offloads: dict[str, bool] = {}  # of the guest's interface, by ethtool's names
    parameters: dict[str, str] = {}  # of the workload, e.g. {"seconds": "2", "omit": "1"}
    instruments: dict[str, str] = {}
    """What measured, by STAMPS, CLIENT and SERVER; {} of older records."""
    raw: dict[str, str] = {}  # tool output, as it came


class MissingPath(msgspec.Struct, frozen=True, kw_only=True):
    """A path that was asked for and cannot be had on this host."""

    path: str
    capability: str
    why: str
    remedy: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A boot that did not give its trials: the rig's failure, kept for the report."""

    path: str
    boot: int
    variant: str = ""  # of two configurations: which one; "" in records of old
    error: str
    log: str = ""  # path of the guest's serial log, relative to the run directory


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a whole run."""

    run: str
    schema: int = SCHEMA
    version: str  # nicproof's
    created: str  # UTC, ISO 8601
    fidelity: Fidelity
    clock: Clock = "wall"
    lab_cpus: int = 0  # of the nested lab; 0: a real host, or not known
    exit_cost_ns: int = 0  # in the nested lab
    host: str
    partner_host: str = ""  # where the link partner is, if that is another one
    nic: str
    seed: int
    boots: int
    paths: tuple[str, ...]  # asked for, in the order of the request
    workloads: tuple[str, ...]
    path_facts: dict[str, PathFacts] = {}  # by path; see harness.records.facts
    workload_facts: dict[str, WorkloadFacts] = {}
    options: dict[str, str] = {}  # e.g. {"vfio": "x-no-mmap=on", "quick": "yes"}
    variants: dict[str, dict[str, str]] = {}
    """Of `nicproof ab` and `nicproof sweep`: a configuration's name -> its own options."""
    axes: tuple[str, ...] = ()  # of `nicproof sweep`: the options that were varied
    environment: dict[str, dict[str, str]] = {}  # section -> key -> value
    floor_ns: tuple[int, ...] = ()  # the prober's own round trips over a veth pair
    generator_pps: dict[str, float] = {}
    """By workload: what the generator of its frames reaches into a dummy interface."""
    floor_stamps: str = ""  # whose, as TrialRecord.instruments has it; "" of older records
    missing: tuple[MissingPath, ...] = ()
    failures: tuple[Failure, ...] = ()
    uncounted: str = ""  # why exits were not counted, though the run was to count them
    finished: bool = False  # False: interrupted; what is there is still good


def section(name: str, variant: str) -> str:
    """The name of a section of RunInfo.environment that each of two configurations has."""
    return f"{name} {variant}".strip()
