"""May two runs be compared at all? What must be the same in both, and the refusal that names it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.records.alike import KEYS, PARAMETERS, check_across
from harness.records.run import Run
from harness.records.trial import IDLE, STAMPS, TUNING


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


@dataclass(frozen=True)
class Difference:
    """A key that two runs do not share, with its value in each."""

    key: str
    base: str
    new: str


def difference(base: Run, new: Run, across: Iterable[str] = ()) -> Difference | None:
    """The first key, other than those in `across`, in which two runs differ.

    ConfigError for a key that there is not.
    """
    allowed = set(across)
    check_across(allowed)
    sides = _of_common_workloads(fingerprint(base), fingerprint(new))
    for key in KEYS:
        base_value, new_value = sides[0][key], sides[1][key]
        known = key != "time stamps" or (base_value and new_value)  # does either side have some?
        if base_value != new_value and known and key not in allowed:
            return Difference(key, base_value, new_value)
    return None


def check(base: Run, new: Run, across: Iterable[str] = ()) -> None:
    """ConfigError, with the difference named, if two runs must not be compared."""
    if found := difference(base, new, across):
        raise ConfigError(
            f"{base.info.run} and {new.info.run} differ in {found.key}: {found.base!r}, "
            f"{found.new!r}",
            remedy=f"if that is the point of the comparison: --across {found.key!r}",
        )


def _of_common_workloads(
    base: dict[str, str], new: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Workloads that only one of the runs has are not compared, so they cannot differ."""
    lines = [side[PARAMETERS].split("; ") for side in (base, new)]
    names = [{line.partition(":")[0] for line in each} for each in lines]
    common = names[0] & names[1]
    kept = ["; ".join(x for x in each if x.partition(":")[0] in common) for each in lines]
    return {**base, PARAMETERS: kept[0]}, {**new, PARAMETERS: kept[1]}
