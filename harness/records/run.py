"""A run as it was stored: what holds for all of it, and its trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from harness.core.errors import ConfigError
from harness.core.facts import PathFacts, WorkloadFacts
from harness.core.metrics import Grounds, metric_of
from harness.records import facts
from harness.records.store import open_run
from harness.records.trial import IDLE, RunInfo, TrialRecord


@dataclass(frozen=True)
class Run:
    """A run as it was stored."""

    info: RunInfo
    trials: tuple[TrialRecord, ...]

    @cached_property
    def counted(self) -> tuple[TrialRecord, ...]:
        """The trials that figures are made from: valid, and no warm-up."""
        return tuple(t for t in self.trials if t.valid and not t.warmup)

    def grounds(self, metric: str) -> Grounds:
        """How far this run's figures of a metric may be relied upon."""
        return metric_of(metric).grounds(self.info.fidelity, self.info.clock)

    def unit(self, metric: str) -> str:
        """A metric's unit by the clock of this run."""
        return metric_of(metric).unit_by(self.info.clock)

    def path_facts(self, path: str) -> PathFacts:
        return facts.path_facts(self.info, path)

    def workload_facts(self, workload: str) -> WorkloadFacts:
        return facts.workload_facts(self.info, workload)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths asked for, in that order, then any other that has trials."""
        return union(self.info.paths, (t.path for t in self.trials))

    @cached_property
    def workloads(self) -> tuple[str, ...]:
        """Workloads asked for, in that order, then any other that has trials; idle last."""
        names = union(self.info.workloads, (t.workload for t in self.trials))
        return tuple(sorted(names, key=lambda name: name == IDLE))


def load(directory: Path) -> Run:
    """Read a run. ConfigError if it holds nothing, or trials that must not be compared."""
    with open_run(directory) as store:
        return checked(Run(store.info(), store.trials()), str(directory))


def checked(run: Run, place: str) -> Run:
    """The run. ConfigError, with its place, if it holds nothing, or what must not be compared."""
    if not (run.trials or run.info.missing or run.info.failures):
        raise ConfigError(f"{place}: no trial was finished in this run")
    kinds = {(t.fidelity, t.clock) for t in run.trials} | {(run.info.fidelity, run.info.clock)}
    if len(kinds) > 1:
        found = ", ".join(sorted(f"{fidelity} ({clock} clock)" for fidelity, clock in kinds))
        raise ConfigError(f"{place}: trials of different fidelity in one run: {found}")
    return run


def of_variant(run: Run, name: str) -> Run:
    """The half of a run of two configurations that belongs to one of them."""
    options = {**run.info.options, **run.info.variants[name]}
    info = msgspec.structs.replace(run.info, options=options, variants={})
    return Run(info, tuple(trial for trial in run.trials if trial.variant == name))


def union(first: Sequence[str], more: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))
