"""What is said of a comparison in sentences: the headline, and the lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.comparison import baseline
from harness.comparison.missing import fallen
from harness.comparison.outcome import PREDICTED, Comparison
from harness.comparison.verdict import LOST, Change, Verdict
from harness.core.metrics import metric_of
from reports.run import style

RARE: tuple[Verdict, ...] = (*LOST, "only in new")
"""Verdicts on what one side alone has, counted only where there is some."""


MEANT = "--across paths or --across workloads says that new is meant to have fewer"


def headline(outcome: Comparison) -> str:
    """The verdict in a few sentences: what was lost; what was judged; what does not decide."""
    return ". ".join((*_lost(outcome), *_judged(outcome), *_beside(outcome)))


def _lost(outcome: Comparison) -> Iterator[str]:
    """ "4 of 12 figures are not measured: sriov (new has no valid trial of 6)"."""
    total = len(outcome.primary) - outcome.count("only in new")
    for verdict in LOST:
        if count := outcome.count(verdict):
            figures = f"{count} of {_figures(total)} {_are(count)}"
            yield f"{figures} {verdict}: {_places(outcome, verdict)}"


def _places(outcome: Comparison, verdict: Verdict) -> str:
    """Where one side has primary figures alone: paths, workloads or figures, as wide as it holds,
    with the reason."""
    paths = {each.path for each in outcome.changes if each.both}
    places = {(each.path, each.workload) for each in outcome.changes if each.both}
    named: dict[str, dict[str, None]] = {}
    for change in outcome.primary:
        if change.verdict != verdict:
            continue
        name = change.path
        if change.path in paths:
            name = f"{name} {change.workload}"
        if (change.path, change.workload) in places:
            name = f"{name} {metric_of(change.metric).label}"
        why = MEANT if verdict == "not asked for" else change.why.partition(": ")[0]
        named.setdefault(why, {})[name] = None
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in named.items())


def _judged(outcome: Comparison) -> Iterator[str]:
    """Of the primary figures that both sides have; of an ablation: did it do what was expected?"""
    if every := outcome.expectations:
        met = sum(each.verdict == "it did" for each in every)
        name, first = outcome.new.info.options["ablation"], sentence(every[0].change)
        yield f"{name}: {met} of {len(every)} figures did what was expected; {first}"
        return
    judged = [change for change in outcome.primary if change.verdict not in RARE]
    if not judged:
        return
    among = _figures(len(judged), "other " if len(judged) < len(outcome.primary) else "")
    worse, undecided, better = (
        [change for change in judged if change.verdict == verdict]
        for verdict in ("regression", "undecided", "improvement")
    )
    if worse:
        yield f"{len(worse)} of {among} {_are(len(worse))} worse; the worst: {sentence(worse[0])}"
    elif undecided:
        size = _size(undecided[0], outcome) if undecided[0].beyond else ""
        counted = f"{len(undecided)} of {among} {_are(len(undecided))} undecided"
        yield f"No figure is shown to be worse; {counted}{size}"
    elif better:
        yield f"No figure is worse, {len(better)} of {among} {_are(len(better))} better"
    else:
        yield f"No change in any of {among}" if len(judged) > 1 else f"No change in {among}"


def _size(change: Change, outcome: Comparison) -> str:
    """How much worse an undecided figure looks, and on how little that rests."""
    return f"; the largest: {sentence(change)}, undecided: {samples(change, outcome)}"


def samples(change: Change, outcome: Comparison) -> str:
    """ "2 boots", of the side that has fewer; of a series, its runs."""
    boots = change.shift.boots
    count = boots[0] if outcome.method is PREDICTED else min(boots)
    return f"{count} {outcome.method.sample}{'' if count == 1 else 's'}"


def _beside(outcome: Comparison) -> Iterator[str]:
    """What does not decide, and is to be known all the same."""
    if count := outcome.count("only in new"):
        yield f"{_figures(count)} {_are(count)} only in new: {_places(outcome, 'only in new')}"
    if worse := others(outcome, "regression"):
        message = f"{_figures(len(worse), 'other ')} {_are(len(worse))} worse"
        yield f"{message}{': ' if len(worse) == 1 else '; the worst: '}{sentence(worse[0])}"
    for path, base, new in fallen(*outcome.sides):
        yield (
            f"Fewer trials of {path} are valid: {new.valid} of {new.total}, "
            f"of base {base.valid} of {base.total}"
        )
    for side in outcome.sides[1:]:
        if not side.info.finished:
            yield f"{side.label} was interrupted"


def notable(change: Change) -> bool:
    """Is a figure that does not decide to be shown? It changed, or it looks worse."""
    return change.both and (change.verdict in ("regression", "improvement") or change.beyond)


def others(outcome: Comparison, verdict: Verdict) -> list[Change]:
    """Figures that do not decide, the one that is most worse first."""
    return [each for each in outcome.changes if not each.primary and each.verdict == verdict]


def describe(outcome: Comparison) -> list[str]:
    """All that a terminal shows: a line a figure that decides, the other figures that are worse,
    the trials, the warnings, the headline."""
    return [
        *_lines(outcome),
        *_others(outcome),
        *baseline.describe(outcome.changes),
        "",
        *trials(outcome),
        *(f"warning: {each}" for each in outcome.warnings),
        "",
        headline(outcome),
    ]


def _lines(outcome: Comparison) -> Iterator[str]:
    """One a figure that decides. Why many of them are lost is told in full once."""
    seen: set[str] = set()
    for change in outcome.primary:
        why = change.why.partition(": ")[0] if change.why in seen else change.why
        if change.verdict in RARE:
            seen.add(change.why)
        yield f"{change.verdict:<13} {sentence(change)}{f' ({why})' if why else ''}"


def _others(outcome: Comparison) -> Iterator[str]:
    """The other figures: what is worse, and how many only look so."""
    if worse := others(outcome, "regression"):
        yield "worse, but not deciding:"
        yield from (f"  {sentence(each)}" for each in worse)
    if looks := [each for each in others(outcome, "undecided") if each.beyond]:
        yield f"{_figures(len(looks), 'other ')} may be worse; the largest: {sentence(looks[0])}"


def trials(outcome: Comparison) -> Iterator[str]:
    """How trials ended on each side: of all together, then of each path and workload of which
    some are not valid."""
    base, new = outcome.sides
    yield f"trials: base {base.all_of()}; new {new.all_of()}"
    for place in dict.fromkeys((*base.tallies, *new.tallies)):
        pair = base.tally(*place), new.tally(*place)
        if any(each.share < 1 for each in pair):
            yield f"  {', '.join(place)}: base {pair[0]}; new {pair[1]}"


def sentence(change: Change) -> str:
    """A change with what explains it: "sriov, tcp-tx: Throughput -12 %: npf exits ... "."""
    size = f" {percent(change)}" if change.both else ""
    exits = f": {change.exits[0]}" if change.exits else ""
    return f"{change.path}, {change.workload}: {metric_of(change.metric).label}{size}{exits}"


def percent(change: Change) -> str:
    """How much a figure changed."""
    if math.isinf(change.shift.ratio):
        unit = style.unit(metric_of(change.metric).unit)
        return f"from none to {style.number(change.new)} {unit}"
    return percent_of(change.shift.ratio)


def percent_of(ratio: float) -> str:
    """A ratio, as a change: "-12.0 %", "x 10"."""
    if ratio > 1e9:  # a limit of a search, where the base has none
        return "from none"
    if ratio >= 3:
        return f"x {ratio:.3g}"
    return f"{100 * (ratio - 1):+.1f} %"


def _figures(count: int, kind: str = "") -> str:
    return f"{count} {kind}figure{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
