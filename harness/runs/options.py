"""The options of a run, declared once: for the commands, for pytest, and for the document that is
kept beside the records. What a comparison makes of them is checked here, too."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from harness import __version__, paths, workloads
from harness.core.errors import ConfigError
from harness.core.flags import LINE_MAX, PATH_MAX, names, options_of, read, says
from harness.core.metrics import METRICS
from harness.core.units import ClockChoice
from harness.labs.choice import AUTO, NESTED, Choice, choose
from harness.qualify.options import Qualification
from harness.records import ablation, series
from harness.records.trial import DECIDING
from harness.runs.variant import Variant, affected, parse

BOOTS, QUICK_BOOTS, MAX_BLOCKS = 6, 2, 10
"""Six boots are the fewest with which a paired sign-flip test can reach p < 0.05 (2/2^6); with
ten blocks a change of 5 % of one figure among sixty is told where boots vary by 1 %."""

MOST_BOOTS = 1000
"""Of each path in a run: pytest holds them all in its memory at once."""

PAIR_WORKLOADS = ("tcp-tx", "tcp-rx", "latency")
"""Fewer figures are decided by fewer blocks."""

UNCLAIMED = Path(os.devnull) / "a run without a directory"
"""Where nothing can be written: the directory of a run that has claimed none (claim.py)."""


class Where(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of every run, of a qualification too: where it is made, and where its results go."""

    lab: Annotated[
        str,
        says(
            "nested: the nested lab; FILE or FILE#HOST: a host of an inventory "
            "(docs/real-host.md); auto (default): a host of ./lab.toml or of "
            "~/.config/nicproof/lab.toml if one has a port with a partner, else nested",
            metavar="LAB",
            min_length=1,
            max_length=PATH_MAX,
            examples=[AUTO, NESTED],
        ),
    ] = AUTO
    clock: Annotated[
        ClockChoice,
        says(
            "virtual: 1 ns an instruction, so that times repeat on any machine (nested lab only); "
            "wall: the world's; auto (default): virtual where the lab is emulated, else wall",
        ),
    ] = "auto"
    run_dir: (
        Annotated[
            str,
            says(
                "where the results go (default results/<run-id>)",
                metavar="DIR",
                min_length=1,
                max_length=PATH_MAX,
                examples=["r", f"{'d' * 200}/{'r' * 200}"],
            ),
        ]
        | None
    ) = None


class Measuring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a run that measures."""

    paths: (
        Annotated[
            str,
            says(
                f"comma-separated network paths; of {', '.join(path.name for path in paths.ALL)}",
                metavar="NAMES",
                min_length=1,
                max_length=LINE_MAX,
                examples=["native", ",".join(path.name for path in paths.ALL)],
            ),
        ]
        | None
    ) = None
    workloads: (
        Annotated[
            str,
            says(
                f"comma-separated workloads; of {', '.join(workloads.NAMES)}",
                metavar="NAMES",
                min_length=1,
                max_length=LINE_MAX,
                examples=["udp", ",".join(workloads.NAMES)],
            ),
        ]
        | None
    ) = None
    seed: (
        Annotated[
            int,
            says(
                "seed of the order of boots (default: drawn, recorded)",
                metavar="N",
                ge=0,
                le=2**63 - 1,
            ),
        ]
        | None
    ) = None
    name: Annotated[
        str,
        says(
            "the series that this run belongs to in the history, e.g. main (default: none)",
            max_length=series.LONGEST,
            examples=["", "m", "m" * series.LONGEST],
        ),
    ] = ""
    history: (
        Annotated[
            str,
            says(
                "where the history of runs is kept: a file, or postgresql://user@host/database "
                "(default $NICPROOF_HISTORY, else ~/.local/share/nicproof/history.db)",
                metavar="WHERE",
                min_length=1,
                max_length=PATH_MAX,
                examples=["h", "h" * 200],
            ),
        ]
        | None
    ) = None
    no_history: Annotated[bool, says("keep this run out of the history")] = False
    udp_rate: (
        Annotated[
            float,
            says(
                "rate of the udp workload in Mbit/s (default 2)",
                metavar="MBITS",
                ge=0.001,
                le=1e6,
            ),
        ]
        | None
    ) = None


class Single(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a run of one configuration."""

    boots: (
        Annotated[
            int, says(f"boots of each path (default {BOOTS})", metavar="N", ge=1, le=MOST_BOOTS)
        ]
        | None
    ) = None
    quick: Annotated[bool, says(f"{QUICK_BOOTS} boots; figures are indicative only")] = False
    explain: (
        Annotated[
            str,
            says(
                "print at the end where the time of a packet on this path goes: guest, exits, "
                "vhost, QEMU",
                metavar="PATH",
                max_length=LINE_MAX,
                examples=["native"],
            ),
        ]
        | None
    ) = None


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a run of two."""

    a: (
        Annotated[
            str,
            says(
                "the one configuration, as options in one argument",
                metavar="OPTIONS",
                max_length=LINE_MAX,
                examples=["", "--rx-usecs 0"],
            ),
        ]
        | None
    ) = None
    b: (
        Annotated[
            str,
            says(
                "the other one",
                metavar="OPTIONS",
                max_length=LINE_MAX,
                examples=["--rx-usecs 1", "--vfio x-no-mmap=on --queues 256"],
            ),
        ]
        | None
    ) = None
    ablate: (
        Annotated[
            str,
            says(
                f"a feature to be taken away in b; of {', '.join(ablation.NAMES)}",
                metavar="NAME",
                max_length=LINE_MAX,
                examples=["vhost"],
            ),
        ]
        | None
    ) = None
    max_blocks: (
        Annotated[
            int,
            says(
                "of two configurations that are interleaved: stop after so many boots of each, "
                f"decided or not (default {MAX_BLOCKS})",
                metavar="N",
                ge=1,
                le=MOST_BOOTS,
            ),
        ]
        | None
    ) = None
    decide: (
        Annotated[
            str,
            says(
                "only these figures decide, e.g. sriov/tcp-tx/throughput,sriov/latency/rtt_p50 "
                "(default: throughput, median RTT, loss and exits per packet of all)",
                metavar="FIGURES",
                max_length=32 * LINE_MAX,  # every figure of a run, if need be
                examples=["native/udp/throughput"],
            ),
        ]
        | None
    ) = None
    strict_verdict: Annotated[
        bool, says("exit status 3 if a figure that decides is undecided at the end")
    ] = False


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that was asked of a run. A command writes it down beside the records to be, and pytest
    reads it there; harness.runs.claim does both."""

    version: str = __version__  # nicproof's
    run: str = ""  # the run's id; "" until there is a directory for it
    where: Where = Where()
    measuring: Measuring = Measuring()
    single: Single = Single()
    configuration: Variant = Variant()
    pair: Pair = Pair()
    qualification: Qualification = Qualification()

    @classmethod
    def of(cls, given: object) -> Asked:
        """From parsed options; ConfigError names one that cannot be. A seed that was not given is
        drawn."""
        measuring = read(Measuring, given)
        if measuring.seed is None:
            measuring = replace(measuring, seed=random.SystemRandom().randrange(1 << 31))
        return cls(
            where=read(Where, given),
            measuring=measuring,
            single=read(Single, given),
            configuration=read(Variant, given),
            pair=read(Pair, given),
            qualification=read(Qualification, given),
        )


OPTIONS = options_of(Asked)


@dataclass(frozen=True)
class BenchOptions:
    """A run as asked for, checked: of one configuration, named "", or of two, "a" and "b"."""

    run: str
    run_dir: Path
    paths: tuple[str, ...]
    workloads: tuple[str, ...]
    boots: int  # of two configurations: at most
    seed: int
    variants: Mapping[str, Variant]
    ablation: str  # a name in harness.records.ablation, or none
    deciding: tuple[str, ...]  # figures, or none: all that may
    strict: bool  # is it a bad end if one of them is undecided?
    quick: bool
    udp_rate: int | None  # bit/s; None: the workload's own
    lab: Choice
    clock: ClockChoice
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
        loads = _workloads(asked)
        assert measuring.seed is not None, "drawn by Asked.of"
        return cls(
            run=asked.run,
            run_dir=run_dir,
            paths=chosen,
            workloads=loads,
            boots=_boots(asked),
            seed=measuring.seed,
            variants=variants,
            ablation=asked.pair.ablate or "",
            deciding=_deciding(asked.pair.decide, chosen, loads),
            strict=asked.pair.strict_verdict,
            quick=asked.single.quick,
            udp_rate=None if measuring.udp_rate is None else round(measuring.udp_rate * 1e6),
            lab=choose(asked.where.lab, asked.where.clock),
            clock=asked.where.clock,
            explain=_explain(asked.single.explain, chosen),
            name=series.checked(measuring.name),
            history=measuring.history,
            kept=_kept(measuring),
        )

    @property
    def pair(self) -> bool:
        """Are two configurations interleaved?"""
        return len(self.variants) > 1

    def recorded(self) -> dict[str, str]:
        """What was varied, for RunInfo.options; of two configurations, what they share."""
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
        """What the two do not share, for RunInfo.variants; empty where there is but one."""
        shared = self.recorded()
        return {
            name: {k: v for k, v in variant.recorded().items() if k not in shared}
            for name, variant in self.variants.items()
            if self.pair
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
    elif _pair(asked):
        chosen = affected(variants["a"], variants["b"])
    else:
        chosen = paths.DEFAULT
    return tuple(path.name for path in paths.select(chosen))


def _workloads(asked: Asked) -> tuple[str, ...]:
    """Those asked for, or those that the run is about."""
    usual = PAIR_WORKLOADS if _pair(asked) else workloads.NAMES
    feature = _ablated(asked)
    if asked.measuring.workloads is None:
        return workloads.select(feature.workloads(usual) if feature else usual)
    chosen = workloads.select(names(asked.measuring.workloads))
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


def _kept(measuring: Measuring) -> bool:
    for flag, value in (("--name", measuring.name), ("--history", measuring.history)):
        if measuring.no_history and value:
            raise ConfigError(f"--no-history and {flag} {value}: one or the other")
    return not measuring.no_history
