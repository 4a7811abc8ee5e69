"""What must be the same in two runs for a comparison of them to mean anything."""

from __future__ import annotations

from collections.abc import Iterable

from harness.core.errors import ConfigError

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
