"""The options of a comparison run, defined once for `nicproof bench` and for pytest."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, get_args

from harness import ablation, paths, series, store, workloads
from harness.errors import ConfigError
from harness.flags import names, option
from harness.lab.choice import AUTO, Choice, choose
from harness.measure.record import DECIDING
from harness.qualify.record import CASES_FILE
from harness.units import METRICS, ClockChoice
from harness.variant import CONFIGURATION, Variant, affected, parse

BOOTS, QUICK_BOOTS, MAX_BLOCKS = 6, 2, 10
"""Six boots are the fewest with which a paired sign-flip test can reach p < 0.05 (2/2^6); with
ten blocks a change of 5 % of one figure among sixty is told where boots vary by 1 %."""

PAIR_WORKLOADS = ("tcp-tx", "tcp-rx", "latency")
"""Fewer figures are decided by fewer blocks."""

MAX_BLOCKS_OPTION = option(
    "--max-blocks",
    "of two configurations that are interleaved: stop after so many boots of each, decided or not "
    f"(default {MAX_BLOCKS})",
    type=int,
    metavar="N",
)

RUN = (
    option(
        "--paths",
        f"comma-separated network paths; of {', '.join(path.name for path in paths.ALL)}",
        metavar="NAMES",
    ),
    option(
        "--workloads",
        f"comma-separated workloads; of {', '.join(workloads.NAMES)}",
        metavar="NAMES",
    ),
    option(
        "--lab",
        "nested: the nested lab; FILE or FILE#HOST: a host of an inventory (docs/real-host.md); "
        "auto (default): a host of ./lab.toml or of ~/.config/nicproof/lab.toml if one has a "
        "port with a partner, else nested",
        default=AUTO,
        metavar="LAB",
    ),
    option(
        "--clock",
        "virtual: 1 ns an instruction, so that times repeat on any machine (nested lab only); "
        "wall: the world's; auto (default): virtual where the lab is emulated, else wall",
        default="auto",
        choices=get_args(ClockChoice),
    ),
    option("--seed", "seed of the order of boots (default: drawn, recorded)", type=int),
    option("--run-dir", "where the results go (default results/<run-id>)", metavar="DIR"),
    option("--name", "the series that this run belongs to in the history, e.g. main", default=""),
    option(
        "--history",
        "where the history of runs is kept: a file, or postgresql://user@host/database (default "
        "$NICPROOF_HISTORY, else ~/.local/share/nicproof/history.db)",
        metavar="WHERE",
    ),
    option("--no-history", "keep this run out of the history", action="store_true"),
    option(
        "--udp-rate", "rate of the udp workload in Mbit/s (default 2)", type=float, metavar="MBITS"
    ),
)
"""Of every run."""

SINGLE = (
    option("--boots", f"boots of each path (default {BOOTS})", type=int, metavar="N"),
    option("--quick", f"{QUICK_BOOTS} boots; figures are indicative only", action="store_true"),
    option(
        "--explain",
        "print at the end where the time of a packet on this path goes: guest, exits, vhost, QEMU",
        metavar="PATH",
    ),
)
"""Of a run of one configuration."""

STRICT = option(
    "--strict-verdict",
    "exit status 3 if a figure that decides is undecided at the end",
    action="store_true",
)
"""`nicproof ab` calls it --strict, which is another option of pytest's."""

PAIR = (
    option("--a", "the one configuration, as options in one argument", metavar="OPTIONS"),
    option("--b", "the other one", metavar="OPTIONS"),
    option(
        "--ablate",
        f"a feature to be taken away in b; of {', '.join(ablation.NAMES)}",
        metavar="NAME",
        choices=ablation.NAMES,
    ),
    MAX_BLOCKS_OPTION,
    option(
        "--decide",
        "only these figures decide, e.g. sriov/tcp-tx/throughput,sriov/latency/rtt_p50 (default: "
        "throughput, median RTT and exits per packet of all)",
        metavar="FIGURES",
    ),
    STRICT,
)
"""Of a run of two."""

OPTIONS = (*RUN, *SINGLE, *CONFIGURATION, *PAIR)


class _Namespace(Protocol):
    """What the options leave in a namespace, those of CONFIGURATION apart."""

    paths: str | None
    workloads: str | None
    boots: int | None
    quick: bool
    seed: int | None
    run_dir: str | None
    udp_rate: float | None
    lab: str
    clock: ClockChoice
    explain: str | None
    name: str
    history: str | None
    no_history: bool
    a: str | None
    b: str | None
    ablate: str | None
    max_blocks: int | None
    decide: str | None
    strict_verdict: bool | None


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
    ablation: str  # a name in harness.ablation, or none
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
    def of(cls, given: _Namespace) -> BenchOptions:
        """From parsed options; ConfigError names the option that cannot be."""
        variants = _variants(given)
        chosen = _paths(given, variants)
        loads = _workloads(given)
        return cls(
            run=new_run(),
            run_dir=free_run_dir(given.run_dir),
            paths=chosen,
            workloads=loads,
            boots=_boots(given),
            seed=random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed,
            variants=variants,
            ablation=given.ablate or "",
            deciding=_deciding(given.decide, chosen, loads),
            strict=bool(given.strict_verdict),
            quick=bool(given.quick),
            udp_rate=_udp_rate(given.udp_rate),
            lab=choose(given.lab, given.clock),
            clock=given.clock,
            explain=_explain(given.explain, chosen),
            name=series.checked(given.name),
            history=given.history,
            kept=_kept(given),
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


def _pair(given: _Namespace) -> bool:
    return any(each is not None for each in (given.a, given.b, given.ablate))


def _variants(given: Any) -> dict[str, Variant]:
    if not _pair(given):
        return {"": Variant.of(given)}
    a, b = given.a, given.b
    if given.ablate:
        if a is not None or b is not None:
            raise ConfigError("--ablate: describes both configurations; leave out --a and --b")
        feature = ablation.BY_NAME[given.ablate]
        a, b = feature.a, feature.b
    return {"a": parse("a", a or "", given), "b": parse("b", b or "", given)}


def _paths(given: _Namespace, variants: Mapping[str, Variant]) -> tuple[str, ...]:
    """Those asked for, or those that the run is about."""
    if given.ablate:
        usual = ablation.BY_NAME[given.ablate].paths
    elif _pair(given):
        usual = affected(variants["a"], variants["b"])
    else:
        usual = paths.DEFAULT
    return tuple(path.name for path in paths.select(names(given.paths) if given.paths else usual))


def _workloads(given: _Namespace) -> tuple[str, ...]:
    """Those asked for, or those that the run is about."""
    usual = PAIR_WORKLOADS if _pair(given) else workloads.NAMES
    feature = ablation.BY_NAME[given.ablate] if given.ablate else None
    if not given.workloads:
        return workloads.select(feature.workloads(usual) if feature else usual)
    asked = workloads.select(names(given.workloads))
    if feature and not feature.workloads(asked):
        raise ConfigError(
            f"--ablate {feature.name}: nothing is expected of it in {', '.join(asked)}",
            remedy=f"choose from {', '.join(feature.workloads(workloads.NAMES))}",
        )
    return asked


def _boots(given: _Namespace) -> int:
    if _pair(given):
        blocks = MAX_BLOCKS if given.max_blocks is None else given.max_blocks
        if blocks < 1:
            raise ConfigError(f"--max-blocks {blocks}: at least one block is needed")
        return blocks
    boots = given.boots or (QUICK_BOOTS if given.quick else BOOTS)
    if boots < 1:
        raise ConfigError(f"--boots {boots}: at least one boot of each path is needed")
    return boots


def _deciding(text: str | None, chosen: Sequence[str], loads: Sequence[str]) -> tuple[str, ...]:
    figures = names(text or "")
    for figure in figures:
        path, workload, metric = (*figure.split("/"), "", "", "")[:3]
        if path not in chosen or workload not in loads or metric not in METRICS:
            raise ConfigError(
                f"--decide {figure}: no figure of this run",
                remedy=f"write PATH/WORKLOAD/METRIC: {', '.join(chosen)} / {', '.join(loads)} / "
                "a metric such as throughput, rtt_p50 or exits_per_packet",
            )
    return figures


def new_run() -> str:
    """A run's id: when it was asked for, UTC."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def free_run_dir(asked: str | None) -> Path:
    """The directory for a run's results; ConfigError if it holds those of another."""
    run_dir = Path(asked or f"results/{new_run()}").resolve()
    if any((run_dir / name).exists() for name in (store.FILENAME, CASES_FILE)):
        raise ConfigError(
            f"--run-dir {asked}: already holds a run",
            remedy="choose another directory, or remove that one",
        )
    return run_dir


def _explain(path: str | None, chosen: tuple[str, ...]) -> str:
    if path and path not in chosen:
        raise ConfigError(
            f"--explain {path}: not one of the run's paths",
            remedy=f"choose from {', '.join(chosen)}",
        )
    return path or ""


def _kept(given: _Namespace) -> bool:
    for flag, value in (("--name", given.name), ("--history", given.history)):
        if given.no_history and value:
            raise ConfigError(f"--no-history and {flag} {value}: one or the other")
    return not given.no_history


def _udp_rate(mbits: float | None) -> int | None:
    if mbits is None:
        return None
    if not 0 < mbits < 1e6:
        raise ConfigError(f"--udp-rate {mbits:g}: a rate in Mbit/s above 0 is needed")
    return round(mbits * 1e6)
