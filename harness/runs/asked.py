"""The options of a run, declared once: for the commands, for pytest, and for the document that is
kept beside the records."""

from __future__ import annotations

import random
from typing import Annotated

import msgspec
from msgspec.structs import replace

from harness import __version__, paths, workloads
from harness.core.flags import LINE_MAX, NAMES, PATH_MAX, options_of, read, says
from harness.labs.choice import AUTO, NESTED
from harness.labs.shape import Machine
from harness.qualify.options import Qualification
from harness.records import ablation, series
from harness.runs.sweep import Sweep
from harness.runs.variant import Variant
from harness.workloads import families, pps

BOOTS, QUICK_BOOTS, MAX_BLOCKS = 6, 2, 10
"""Six boots are the fewest with which a paired sign-flip test can reach p < 0.05 (2/2^6); with
ten blocks a change of 5 % of one figure among sixty is told where boots vary by 1 %."""

MOST_BOOTS = 1000
"""Of each path in a run: pytest holds them all in its memory at once."""


class Where(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of every run, of a qualification too: where it is made, and where what comes of it goes."""

    lab: Annotated[
        str,
        says(
            "nested: the nested lab; FILE or FILE#HOST: a host of an inventory "
            "(docs/real-host); auto (default): a host of ./lab.toml or of "
            "~/.config/nicproof/lab.toml if one has a port with a partner, else nested",
            metavar="LAB",
            min_length=1,
            max_length=PATH_MAX,
            examples=[AUTO, NESTED],
        ),
    ] = AUTO
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


class Measuring(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a run that measures."""

    paths: (
        Annotated[
            str,
            says(
                f"comma-separated network paths; of {', '.join(path.name for path in paths.ALL)}",
                metavar=NAMES,
                words=[path.name for path in paths.ALL],
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
                f"comma-separated workloads; of {', '.join(workloads.SHORT)}",
                metavar=NAMES,
                words=workloads.NAMES,
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
    frame_size: (
        Annotated[
            str,
            says(
                f"comma-separated sizes of the frames of {' and '.join(families.FAMILIES)} where "
                "that is named without one: bytes with FCS, or imix (default "
                f"{','.join(families.USUAL)}); RFC 2544 has "
                f"{','.join(map(str, pps.STANDARD))}",
                metavar=NAMES,
                words=(*map(str, pps.STANDARD), "imix"),
                min_length=1,
                max_length=LINE_MAX,
                examples=["64", "64,1518,imix"],
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
                words=[path.name for path in paths.ALL],
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
                words=ablation.NAMES,
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
    machine: Machine = Machine()
    measuring: Measuring = Measuring()
    single: Single = Single()
    configuration: Variant = Variant()
    pair: Pair = Pair()
    sweep: Sweep = Sweep()
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
            machine=read(Machine, given),
            measuring=measuring,
            single=read(Single, given),
            configuration=read(Variant, given),
            pair=read(Pair, given),
            sweep=read(Sweep, given),
            qualification=read(Qualification, given),
        )


OPTIONS = options_of(Asked)
