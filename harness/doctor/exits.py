"""Can the exits of guests be counted on a host?"""

from __future__ import annotations

from harness.core.errors import LabError, MissingCapability, RunOver
from harness.doctor.findings import Finding, State
from harness.exits.accounting import require_exit_accounting
from harness.hosts.base import Host


def exits(host: Host) -> Finding:
    """Tried, not guessed: which kernel lets whom put programs in is told nowhere."""
    state: State = "no"
    try:
        require_exit_accounting(host)
        state, detail, remedy = "yes", "the kernel takes the programs that count them", ""
    except RunOver:
        raise
    except MissingCapability as unmet:
        detail, remedy = unmet.why, unmet.remedy
    except LabError as error:
        detail, remedy = error.message, error.remedy
    return Finding("exit accounting", state, detail, remedy, ("exit counts",))
