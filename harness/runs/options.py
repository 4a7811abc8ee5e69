"""What a comparison makes of the options of a run, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import paths, workloads
from harness.core.errors import ConfigError
from harness.core.flags import names
from harness.core.metrics import METRICS
from harness.labs.choice import Choice, choose
from harness.labs.shape import LabShape
from harness.records import ablation, series
from harness.records.trial import DECIDING
from harness.runs.asked import (
    BOOTS,
    MAX_BLOCKS,
    QUICK_BOOTS,
    Asked,
)
from harness.runs.sweep import axes_of, grid, room_of
from harness.runs.variant import Variant, affected, affected_by, differing, parse
from harness.workloads.families import checked_sizes, expanded

UNCLAIMED = Path(os.devnull) / "a run without a directory"
"""Where nothing can be written: the directory of a run that has claimed none (claim.py)."""


@dataclass(frozen=True)
class BenchOptions:
    """A run as asked for, checked: of one configuration, named "", of two, "a" and "b", or of one
    for each point of a sweep."""

    run: str
    run_dir: Path
    paths: tuple[str, ...]
    workloads: tuple[str, ...]
    boots: int  # of two configurations: at most
    seed: int
    variants: Mapping[str, Variant]
    axes: tuple[str, ...]  # of a sweep: the options that are varied
    ablation: str  # a name in harness.records.ablation, or none
    deciding: tuple[str, ...]  # figures, or none: all that may
    strict: bool  # is it a bad end if one of them is undecided?
    quick: bool
    lab: Choice
    shape: LabShape  # of the nested lab
    explain: str  # a path, or none
    name: str  # of the series in the history; "" for none
    history: str | None  # where that is; None: the default
    kept: bool  # there, at the end

    @classmethod
    def of(cls, asked: Asked, run_dir: Path = UNCLAIMED) -> BenchOptions:
        """A run as it was asked for, in its directory; ConfigError names the option that cannot
        be."""
        measuring = asked.measuring
        variants = _variants(asked)
        chosen = _paths(asked, variants)
        shape = asked.machine.shape()
        lab = choose(asked.where.lab, shape)
        axes = tuple(axes_of(asked.sweep.over))
        if axes:
            shape = lab.with_room(shape, room_of(variants, axes))
        loads = _workloads(asked, real=lab.real)
        assert measuring.seed is not None, "drawn by Asked.of"
        return cls(
            run=asked.run,
            run_dir=run_dir,
            paths=chosen,
            workloads=loads,
            boots=_boots(asked),
            seed=measuring.seed,
            variants=variants,
            axes=axes,
            ablation=asked.pair.ablate or "",
            deciding=_deciding(asked.pair.decide, chosen, loads),
            strict=asked.pair.strict_verdict,
            quick=asked.single.quick,
            lab=lab,
            shape=shape,
            explain=_explain(asked.single.explain, chosen),
            name=series.checked(measuring.name),
            history=asked.where.history,
            kept=_kept(asked),
        )

    @property
    def pair(self) -> bool:
        """Are two configurations interleaved, to be judged against each other?"""
        return len(self.variants) > 1 and not self.axes

    @property
    def planned_trials(self) -> int:
        """Those that count, over all boots."""
        return self.boots * len(self.variants) * len(self.paths) * len(self.workloads)

    def recorded(self) -> dict[str, str]:
        """What was varied, for RunInfo.options; of several configurations, what they share."""
        each = [variant.recorded() for variant in self.variants.values()]
        shared = {key: value for key, value in each[0].items() if all(
            other.get(key) == value for other in each)}  # fmt: skip
        chosen = {
            "ablation": self.ablation,
            DECIDING: ",".join(self.deciding),
            "quick": "yes" if self.quick else "",
        }
        return shared | {key: value for key, value in chosen.items() if value}

    def recorded_variants(self) -> dict[str, dict[str, str]]:
        """What they do not share, for RunInfo.variants; empty where there is but one."""
        shared = self.recorded()
        return {
            name: {k: v for k, v in variant.recorded().items() if k not in shared}
            for name, variant in self.variants.items()
            if len(self.variants) > 1
        }


def _pair(asked: Asked) -> bool:
    return any(each is not None for each in (asked.pair.a, asked.pair.b, asked.pair.ablate))


def _ablated(asked: Asked) -> ablation.Ablation | None:
    name = asked.pair.ablate
    if name is not None and name not in ablation.BY_NAME:
        raise ConfigError(
            f"--ablate {name}: no such feature",
            remedy=f"choose from {', '.join(ablation.NAMES)}",
        )
    return None if name is None else ablation.BY_NAME[name]


def _variants(asked: Asked) -> dict[str, Variant]:
    if asked.sweep.over:
        if _pair(asked):
            raise ConfigError("--over: a sweep has no --a, --b or --ablate")
        return grid(asked.sweep.over, asked.configuration)
    if not _pair(asked):
        return {"": asked.configuration.checked()}
    a, b = asked.pair.a, asked.pair.b
    if feature := _ablated(asked):
        if a is not None or b is not None:
            raise ConfigError("--ablate: describes both configurations; leave out --a and --b")
        a, b = feature.a, feature.b
    common = asked.configuration
    return {"a": parse("a", a or "", common), "b": parse("b", b or "", common)}


def _paths(asked: Asked, variants: Mapping[str, Variant]) -> tuple[str, ...]:
    """Those asked for, or those that the run is about."""
    if asked.measuring.paths is not None:
        chosen = names(asked.measuring.paths)
    elif feature := _ablated(asked):
        chosen = feature.paths
    elif asked.sweep.over:
        chosen = _swept(variants)
    elif _pair(asked):
        chosen = affected(variants["a"], variants["b"])
    else:
        chosen = paths.DEFAULT
    return tuple(path.name for path in paths.select(chosen))


def _swept(variants: Mapping[str, Variant]) -> tuple[str, ...]:
    """The default paths to which every axis makes a difference, or any does if none has all."""
    sets = [set(affected_by(option)) for option in differing(tuple(variants.values()))]
    all_of, any_of = set.intersection(*sets), set.union(*sets)
    return tuple(path for path in paths.DEFAULT if path in (all_of or any_of))


def _workloads(asked: Asked, *, real: bool) -> tuple[str, ...]:
    """Those asked for, or those that the run is about."""
    usual = workloads.USUAL_ON_HARDWARE if real else workloads.USUAL
    if asked.configuration.streams is not None:
        usual = workloads.USUAL
    if _pair(asked) or asked.sweep.over:
        usual = workloads.SUMMARISED
    sizes = checked_sizes(asked.measuring.frame_size)
    feature = _ablated(asked)
    if asked.measuring.workloads is None:
        return workloads.select(feature.workloads(usual) if feature else usual)
    chosen = workloads.select(expanded(names(asked.measuring.workloads), sizes))
    if feature and not feature.workloads(chosen):
        raise ConfigError(
            f"--ablate {feature.name}: nothing is expected of it in {', '.join(chosen)}",
            remedy=f"choose from {', '.join(feature.workloads(workloads.NAMES))}",
        )
    return chosen


def _boots(asked: Asked) -> int:
    if _pair(asked):
        return MAX_BLOCKS if asked.pair.max_blocks is None else asked.pair.max_blocks
    if asked.single.boots is not None:
        return asked.single.boots
    return QUICK_BOOTS if asked.single.quick else BOOTS


def _deciding(text: str | None, chosen: Sequence[str], loads: Sequence[str]) -> tuple[str, ...]:
    if text is None:
        return ()
    figures = names(text)
    for figure in figures or (text,):
        path, workload, metric = (*figure.split("/"), "", "", "")[:3]
        if path not in chosen or workload not in loads or metric not in METRICS:
            raise ConfigError(
                f"--decide {figure}: no figure of this run",
                remedy=f"write PATH/WORKLOAD/METRIC: {', '.join(chosen)} / {', '.join(loads)} / "
                "a metric such as throughput, rtt_p50 or exits_per_packet",
            )
    return figures


def _explain(path: str | None, chosen: tuple[str, ...]) -> str:
    if path is not None and path not in chosen:
        raise ConfigError(
            f"--explain {path}: not one of the run's paths",
            remedy=f"choose from {', '.join(chosen)}",
        )
    return path or ""


def _kept(asked: Asked) -> bool:
    where, name = asked.where, asked.measuring.name
    for flag, value in (("--name", name), ("--history", where.history)):
        if where.no_history and value:
            raise ConfigError(f"--no-history and {flag} {value}: one or the other")
    return not where.no_history
