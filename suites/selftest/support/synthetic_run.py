"""TEST DATA. A made-up run for tests of the report: no number here was ever measured.

Orders of magnitude are those of a nested lab (exits by SVM's trace names); the generator is seeded,
so the same arguments always make the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from harness.core.units import Fidelity
from harness.records import store
from harness.records.trial import (
    TRANSACTIONS,
    ExitCount,
    Failure,
    MissingPath,
    Proof,
    RunInfo,
    TrialRecord,
)

PATHS = ("native", "e1000e", "virtio", "virtio-vhost", "passthrough", "sriov")
WORKLOADS = ("tcp-tx", "tcp-rx", "tcp-bidir", "udp", "latency", "idle")
_STARTED = "2026-01-01T00:00:00Z"
_SECONDS = 2


@dataclass(frozen=True)
class Character:
    """What a path is like: rates of its exits per packet, and its speed."""

    mbit: float
    rtt_us: float
    per_packet: dict[str, float]
    cpu: float = 0.9


CHARACTERS = {
    "native": Character(610, 900, {}),
    "e1000e": Character(110, 4400, {"npf": 1.1, "msr": 0.5, "interrupt": 0.35, "vintr": 0.25}),
    "virtio": Character(370, 4300, {"npf": 0.13, "msr": 0.09, "interrupt": 0.06, "vintr": 0.05}),
    "virtio-vhost": Character(
        315, 3900, {"npf": 0.10, "msr": 0.08, "interrupt": 0.05, "vintr": 0.05}
    ),
    "passthrough": Character(270, 3500, {"npf": 0.0, "msr": 0.04, "interrupt": 0.03, "io": 0.0002}),
    "sriov": Character(280, 2700, {"npf": 0.0, "msr": 0.02, "interrupt": 0.02, "vintr": 0.01}),
}
_EXIT_NS = {"npf": 30_000, "msr": 9_000, "interrupt": 12_000, "vintr": 5_000, "io": 40_000}


def make_run(
    boots: int = 6,
    *,
    paths: Sequence[str] = PATHS,
    workloads: Sequence[str] = WORKLOADS,
    trials: int = 2,
    seed: int = 1,
    fidelity: Fidelity = "nested-tcg",
    finished: bool = True,
    flaws: bool = False,
) -> tuple[RunInfo, tuple[TrialRecord, ...]]:
    """A run with a warm-up and `trials` trials of each workload a boot; `flaws` adds an invalid
    trial, a missing path and a failed boot."""
    random = np.random.default_rng(seed)
    records: list[TrialRecord] = []
    for block in range(boots):
        for path in random.permutation(list(paths)):
            character = CHARACTERS[str(path)]
            records.extend(_boot(random, str(path), character, block, workloads, trials, fidelity))
    records = [_numbered(record, index) for index, record in enumerate(records)]
    if flaws:
        records[-1] = _spoiled(records[-1])
    info = RunInfo(
        run="synthetic-test-data",
        version="0.0-test",
        created=_STARTED,
        fidelity=fidelity,
        host="lab",
        nic="82576 0000:01:00.0",
        seed=seed,
        boots=boots,
        paths=(*paths, "vmxnet3") if flaws else tuple(paths),
        workloads=tuple(workloads),
        options={"quick": "yes"} if boots < 6 else {},
        environment={
            "TEST DATA": {"note": "made up by suites/selftest/support/synthetic_run.py"},
            "host": {"kernel": "6.12.117+deb13-amd64", "cpu": "QEMU TCG CPU version 2.5+"},
            "qemu": {"version": "10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"},
        },
        floor_ns=tuple(int(v) for v in random.lognormal(np.log(30_000), 0.4, 2000)),
        missing=_MISSING if flaws else (),
        failures=_FAILURES if flaws else (),
        finished=finished,
    )
    return info, tuple(records)


def write_run(directory: Path, info: RunInfo, records: Sequence[TrialRecord]) -> Path:
    """Store a run as the harness would."""
    with store.create(directory) as db:
        db.save_info(info)
        for record in records:
            db.append(record)
    return directory


_MISSING = (
    MissingPath(path="vmxnet3", capability="qemu:vmxnet3", why="this QEMU was built without it"),
)
_FAILURES = (
    Failure(
        path="e1000e", boot=1, error="no answer from the guest agent in 60 s",
        log="logs/e1000e-1.serial.log",
    ),
)  # fmt: skip


def _boot(
    random: np.random.Generator,
    path: str,
    character: Character,
    block: int,
    workloads: Sequence[str],
    trials: int,
    fidelity: Fidelity,
) -> Iterator[TrialRecord]:
    speed = random.lognormal(0, 0.06)
    busy = {reason: random.lognormal(0, 0.15) for reason in _EXIT_NS}
    for workload in workloads:
        for trial in range(trials + 1):
            yield _trial(
                random, path, character, block, workload, trial, fidelity,
                speed * random.lognormal(0, 0.02), busy,
            )  # fmt: skip


def _trial(
    random: np.random.Generator,
    path: str,
    character: Character,
    block: int,
    workload: str,
    trial: int,
    fidelity: Fidelity,
    speed: float,
    busy: dict[str, float],
) -> TrialRecord:
    warmup = trial == 0
    mbit = character.mbit * speed * (0.5 if warmup else 1.0)
    metrics, rtts, packets = _traffic(random, character, workload, mbit, speed)
    window_ns = int(_SECONDS * 1e9 * random.uniform(1.0, 1.01))
    octets = packets * (84 if workload == "latency" else 1300)
    guest = path != "native"
    exits = _exits(random, character, workload, packets, busy) if guest else None
    return TrialRecord(
        run="synthetic-test-data", index=0, fidelity=fidelity, host="lab",
        nic="82576 0000:01:00.0", path=path, workload=workload, block=block, boot=block,
        trial=trial, warmup=warmup, started=_STARTED, window_ns=window_ns, guest_wider_ns=4_000_000,
        valid=True,
        metrics=metrics, rtt_ns=rtts,
        exits=exits,
        counters={
            "partner.rx_packets": packets - packets // 9, "partner.tx_packets": packets // 9,
            "partner.rx_bytes": octets - octets // 20, "partner.tx_bytes": octets // 20,
            **(_cpu(random, character, window_ns, packets, exits) if exits is not None else {}),
            **({TRANSACTIONS: packets // 2} if workload.endswith("rr") else {}),
        },
        proofs=(
            Proof(name="driver", holds=True, detail="as expected"),
            Proof(name="bytes-agree", holds=True, detail="within 0.2 %"),
        ),
        offloads={"tx-tcp-segmentation": path != "sriov", "rx-gro": True} if guest else {},
        parameters={"seconds": str(_SECONDS), "omit": "1"} if "tcp" in workload else {},
    )  # fmt: skip


def _traffic(
    random: np.random.Generator, character: Character, workload: str, mbit: float, speed: float
) -> tuple[dict[str, float], tuple[int, ...], int]:
    """Metrics, round trips and packets of a window."""
    if workload == "latency":
        sample = random.lognormal(np.log(character.rtt_us * 1000 / speed), 0.3, 400)
        points = {"rtt_min": 0, "rtt_p50": 50, "rtt_p90": 90, "rtt_p99": 99, "rtt_max": 100}
        figures = {name: float(np.percentile(sample, q)) / 1000 for name, q in points.items()}
        return figures | {"loss": 0.0}, tuple(int(v) for v in sample), 800
    if workload.endswith("rr"):
        rate = 1e6 / character.rtt_us * speed
        figures = {"rtt_p50": 1e6 / rate, "rtt_p99": 2e6 / rate}
        return {"transactions": rate, **figures}, (), 2 * int(rate * _SECONDS)
    if workload == "idle":
        return {}, (), 4
    if workload == "udp":
        return {"throughput": 50.0, "loss": 0.4 / speed, "jitter": 80.0}, (), 9_000
    packets = int(mbit * 1e6 * _SECONDS / 8 / 1300)
    if workload == "tcp-bidir":
        return {"throughput_tx": mbit * 0.6, "throughput_rx": mbit * 0.5}, (), packets
    scale = 1.5 if workload == "tcp-rx" else 1.0
    metrics = {"throughput": mbit * scale, "throughput_sent": mbit * scale * 1.004}
    return metrics | {"retransmits": float(random.poisson(3))}, (), int(packets * scale)


def _exits(
    random: np.random.Generator,
    character: Character,
    workload: str,
    packets: int,
    busy: dict[str, float],
) -> tuple[ExitCount, ...]:
    rate = 3.0 if workload == "latency" else 40.0 if workload == "idle" else 1.0
    found = []
    for reason, per_packet in character.per_packet.items():
        count = int(random.poisson(per_packet * packets * rate * busy[reason]))
        time_ns = int(count * _EXIT_NS[reason] * random.lognormal(0, 0.05))
        if count:  # the kernel's histogram has no line for what did not happen
            found.append(ExitCount(reason=reason, count=count, time_ns=time_ns, cpu_ns=time_ns))
    return (*found, ExitCount(reason="hlt", count=1500, time_ns=900_000_000, cpu_ns=30_000_000))


def _cpu(
    random: np.random.Generator,
    character: Character,
    window_ns: int,
    packets: int,
    exits: tuple[ExitCount, ...],
) -> dict[str, int]:
    used = int(window_ns * character.cpu * random.uniform(0.9, 1.0))
    handling = sum(exit_.cpu_ns or 0 for exit_ in exits)
    return {
        "vcpus.window_ns": window_ns, "cpu.vcpu_ns": used + handling, "cpu.guest_ns": used,
        "cpu.vhost_ns": used // 4, "cpu.qemu_ns": used // 6,
        "guest.cpu_busy_ns": used, "guest.cpu_total_ns": window_ns,
        "irq.device": packets // 7, "irq.timer": 300, "irq.ipi": 0, "irq.other": 2,
    }  # fmt: skip


def _numbered(record: TrialRecord, index: int) -> TrialRecord:
    return _changed(record, index=index)


def _spoiled(record: TrialRecord) -> TrialRecord:
    why = "bytes of guest and partner differ by 14 %: 12,345,678 against 14,074,073"
    return _changed(record, valid=False, reasons=(why,))


def _changed(record: TrialRecord, **changes: object) -> TrialRecord:
    return msgspec.structs.replace(record, **changes)
