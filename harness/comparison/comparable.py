"""May two runs be compared at all? What must be the same in both, and the refusal that names it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.records.alike import KEYS, PARAMETERS, check_across, fingerprint
from harness.records.run import Run


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
