"""What a run would do and how long it would take, told without doing any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from harness import paths, workloads
from harness.core.errors import ConfigError
from harness.core.units import Clock, Fidelity
from harness.inventory.view import ranges
from harness.measure.plan import Made, PlannedBoot, interleave, is_made, trials_of
from harness.records.durations import Load, Pace, Span, always
from harness.records.run import Run
from harness.records.trial import IDLE
from harness.runs.foreseen import Foreseen, foreseen
from harness.runs.options import BenchOptions
from harness.runs.outlook import outlook

ROUGH = Span(3.0, 10.0, 40.0)
"""Seconds of a trial with its share of a boot, where nothing is known. The lab took 5 s each in
`nicproof bench --quick` on two idle cores, and 23 s on average with other labs at work."""

ROUGH_SOURCE = (
    f"not known: no such run is in the history yet; {ROUGH.low:g} to {ROUGH.high:g} s a trial, as "
    "the nested lab took on two cores, idle and busy"
)

EARLIER = 5
"""Runs of the history that an estimate is made from, the newest first."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison that would be made."""

    lab: str  # in words, and why that one
    host: str
    fidelity: Fidelity | None  # None: the host is to be asked
    clock: Clock
    lab_cpus: int  # of a nested lab; 0: a real host
    guest_cpus: str  # of the host, for what serves guests: "2-3"; "": any
    exit_cost_ns: int
    paths: tuple[str, ...]
    workloads: tuple[str, ...]
    parameters: dict[str, dict[str, str]]  # of each workload, in the first configuration
    variants: dict[str, dict[str, str]]  # of several configurations: what each has of its own
    axes: tuple[str, ...]  # of a sweep: the options that are varied
    options: dict[str, str]  # what holds for all boots
    seed: int
    boots: int  # of each path in each configuration; of two configurations: at the most
    order: tuple[str, ...]  # of boots, by their ids
    trials: int  # that count, over all boots
    others: int  # baselines and warm-ups
    outlook: str = ""  # of two configurations: after how many blocks it may be over
    takes: Span  # seconds; of two configurations: at the most, see outlook
    source: str  # of `takes`

    def lines(self) -> Iterator[str]:
        """For a person."""
        expected = f", expected of {self.fidelity}" if self.fidelity else ""
        cost = f", an exit costs {self.exit_cost_ns} ns more" if self.exit_cost_ns else ""
        count = len(self.order)
        yield f"lab        {self.lab}"
        yield f"clock      {self.clock}{expected}{cost}"
        yield f"CPUs       {self._cpus()}"
        yield f"paths      {', '.join(self.paths)}"
        yield f"workloads  {', '.join(self.workloads)}"
        for name, chosen in self.parameters.items():
            yield f"           {name}: {', '.join(f'{k} {v}' for k, v in chosen.items())}"
        if self.axes:
            yield f"points     {len(self.variants)}: {', '.join(self.variants)}"
        for name, own in self.variants.items() if not self.axes else ():
            words = " ".join(f"--{key}={value}" for key, value in own.items())
            yield f"{name}          {words or 'as usual'}"
        for key, value in self.options.items():
            yield f"with       {key}: {value}"
        at_most = "at most " if self.variants and not self.axes else ""
        each = " at each point" if self.axes else " and configuration" if self.variants else ""
        yield f"boots      {at_most}{count}, {self.boots} of each path{each}, seed {self.seed}"
        yield f"trials     {at_most}{self.trials}, and {self.others} baselines and warm-ups"
        if self.outlook:
            yield f"decides    {self.outlook}"
        yield f"takes      {at_most}{self.takes}"
        yield f"           {'' if self.source == ROUGH_SOURCE else 'by '}{self.source}"

    def _cpus(self) -> str:
        whole = f"{self.lab_cpus} of the lab, " if self.lab_cpus else ""
        return f"{whole}for guests and the port under test: {self.guest_cpus or 'any'}"


def plan_of(
    options: BenchOptions, earlier: Sequence[Run] | None = None, *, made: Made = ()
) -> Plan:
    """What these options would do but for the trials that are `made`, at the pace of `earlier`
    runs, by default those of the history that were made in such a lab."""
    planned = interleave(options.paths, options.boots, options.seed, tuple(options.variants))
    wanted = {
        boot: [name for name in options.workloads if not is_made(made, boot, name)]
        for boot in planned
    }
    boots = [boot for boot, names in wanted.items() if names]
    guests = {path.name: path.has_guest for path in paths.select(options.paths)}
    rig = foreseen(options.lab, options.shape)
    loads = _loads(options, rig)
    each = [
        [
            loads.get((boot.variant, name), Load(name))
            for name in trials_of(boot, wanted[boot], has_guest=guests[boot.path])
        ]
        for boot in boots
    ]
    trials = sum(map(len, wanted.values()))
    lab_cpus = rig.machine.cpus if rig.machine else 0
    if earlier is None:
        earlier = tuple(islice(_earlier(options, rig.host, rig.clock, lab_cpus), EARLIER))
    takes, source = _takes(boots, each, Pace.of(earlier, wall=rig.clock == "wall"))
    return Plan(
        lab=options.lab.describe(),
        host=rig.host,
        fidelity=rig.machine.fidelity if rig.machine else None,
        clock=rig.clock,
        lab_cpus=lab_cpus,
        guest_cpus=ranges(rig.cpus),
        exit_cost_ns=rig.machine.exit_cost_ns if rig.machine else 0,
        paths=options.paths,
        workloads=options.workloads,
        parameters={
            name: dict(loads[next(iter(options.variants)), name].parameters)
            for name in options.workloads
        },
        variants=options.recorded_variants(),
        axes=options.axes,
        options=options.recorded(),
        seed=options.seed,
        boots=options.boots,
        order=tuple(boot.id for boot in boots),
        trials=trials,
        others=sum(map(len, each)) - trials,
        outlook=outlook(options) if options.pair else "",
        takes=takes,
        source=source,
    )


def _loads(options: BenchOptions, rig: Foreseen) -> dict[tuple[str, str], Load]:
    """By configuration and workload: a trial of it, as far as that is known before."""
    fidelity = rig.machine.fidelity if rig.machine else "hardware"
    return {
        (variant, name): Load(
            name,
            workloads.fitted(name, rig.clock, fidelity=fidelity, traffic=traffic).parameters
            | ({"mtu": str(traffic.mtu)} if traffic.mtu else {}),
        )
        for variant, traffic in options.variants.items()
        for name in options.workloads
    }


def _takes(
    boots: Sequence[PlannedBoot], each: Sequence[Sequence[Load]], pace: Pace
) -> tuple[Span, str]:
    """All of the boots together, and by what that is known."""
    if not pace.trials:
        trials = [load for loads in each for load in loads if load.workload != IDLE]
        told = sum(load.nominal for load in trials) if pace.wall else 0.0
        return ROUGH * len(trials) + always(told), ROUGH_SOURCE
    total = pace.start
    for boot, loads in zip(boots, each, strict=True):
        total += pace.boot(boot.path, loads)
    runs = f"{pace.runs} earlier run{'s' * (pace.runs != 1)}"
    return total, f"{len(pace.trials)} trials of {runs} in such a lab"


def _earlier(options: BenchOptions, host: str, clock: Clock, lab_cpus: int) -> Iterator[Run]:
    """Runs of the history that were made in such a lab, the newest first. A history that is not
    there yet is not made."""
    from harness.records.history.db import Location  # late: SQLAlchemy takes a while
    from harness.records.history.runs import open_history

    place = Location.of(options.history)
    if place.file is not None and not place.file.exists():
        return
    with open_history(options.history) as history:
        for entry in history.entries():
            if (entry.host, entry.clock) != (host, clock):
                continue
            try:
                info, trials = history.load(entry)
            except ConfigError:  # of another schema, or damaged: no reason not to plan
                continue
            if info.lab_cpus == lab_cpus:
                yield Run(info, trials)
