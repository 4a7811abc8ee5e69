"""What must be the same in two runs for a comparison of them to mean anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.core.errors import ConfigError
from harness.records.run import Run
from harness.records.trial import IDLE, STAMPS, TUNING

PARAMETERS = "workload parameters"
"""The key whose value names workloads, each with its own."""

KEYS = (
    "fidelity", "clock", "NIC model", "CPU", "link partner", "tuning", "guest memory",
    "time stamps", PARAMETERS,
)  # fmt: skip
"""In one of these two runs may differ only if --across says so."""

ASKED = ("paths", "workloads")
"""What a run may be asked for less of than the one that it is compared with, if --across says so;
else each figure that it was not asked for counts as lost."""


def check_across(keys: Iterable[str]) -> None:
    """ConfigError for a key of --across that there is not."""
    if unknown := set(keys) - {*KEYS, *ASKED}:
        raise ConfigError(
            f"--across {', '.join(sorted(unknown))}: not a key of a run",
            remedy=f"choose from {', '.join((*KEYS, *ASKED))}",
        )


def fingerprint(run: Run) -> dict[str, str]:
    """KEYS of a run, in words."""
    parameters = sorted(
        {
            f"{trial.workload}: {' '.join(f'{k}={v}' for k, v in sorted(trial.parameters.items()))}"
            for trial in run.counted
            if trial.workload != IDLE
        }
    )
    environment = run.info.environment
    values = (
        run.info.fidelity,
        _clock(run),
        run.info.nic.split()[0],
        environment.get("host", {}).get("CPU", "unknown"),
        "on another host" if run.info.partner_host else "on the same host",
        _tuning(environment.get(TUNING, {})),
        _pages(environment.get("guest", {}).get("memory", "")),
        " or ".join(time_stamps(run)),
        "; ".join(parameters),
    )
    return dict(zip(KEYS, values, strict=True))


def kind(run: Run, workload: str) -> dict[str, str]:
    """What must be the same in two runs for their figures of a workload to make one series."""
    own = Run(run.info, tuple(trial for trial in run.trials if trial.workload == workload))
    chosen = sorted((key, value) for key, value in run.info.options.items() if key != "quick")
    return fingerprint(own) | {"options": str(chosen)}


def time_stamps(run: Run) -> list[str]:
    """Whose time stamps the round trips have, each once; [] if there are none, or it is not known,
    as of older records in a history. The prober's own clock adds 25 to 61 us to the kernel's."""
    found = (
        trial.instruments.get(STAMPS) or trial.raw.get("rtt_source", "").replace("-", " ")
        for trial in run.counted
        if trial.rtt_ns
    )
    return sorted(set(found) - {""})


def _clock(run: Run) -> str:
    """The clock, and what of the lab's machine it depends on: its CPUs, the price of an exit."""
    info = run.info
    cpus = f", CPUs: {info.lab_cpus}" if info.clock == "virtual-smp" else ""
    price = f", an exit {info.exit_cost_ns} ns" if info.exit_cost_ns else ""
    return f"{info.clock}{cpus}{price}"


def _tuning(applied: Mapping[str, str]) -> str:
    """Was the host tuned? Receive rings are longer then since records say so: figures of before
    hold TCP's recovery from what short ones lost. In a lab the moderation of where traffic ends is
    held: before, a guest's driver chose it."""
    rings, ends = (
        any(what.startswith(name) for what in applied)
        for name in ("receive ring", "moderation where traffic ends")
    )
    told = f"host tuned{', receive rings long' * rings}{', moderation held at both ends' * ends}"
    return told if applied else "host as found"


def _pages(memory: str) -> str:
    """What a guest's memory is made of; how much it is goes with the image, an option."""
    return memory.partition(" of ")[2] or "ordinary pages"
