"""What was judged, made complete: with the figures that a side lacks, since a candidate that could
not run must not look like one that did as well as before."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from harness.comparison.missing import TOO_MANY, Side
from harness.comparison.verdict import WHOLE, Change, Figure, Verdict, badness, every
from harness.records.boots import Boots
from harness.records.trial import IDLE


@dataclass(frozen=True)
class Lacks:
    """What two sides lack of one another, and of what they were asked for."""

    base: Side
    new: Side
    deciding: Collection[str] = ()  # figures, as for verdict.every
    across: Collection[str] = ()  # "paths", "workloads": new may be asked for fewer

    def completed(self, judged: Iterable[Change], boots: tuple[Boots, Boots]) -> tuple[Change, ...]:
        """`judged`, of these boots, and with it each figure that one side alone has, or that has
        no block in which both do, and each path and workload that new was asked for and has
        nothing of; the worst first.

        A figure that new lacks decides, as "not measured", and as "not asked for" if that is why,
        unless `across` allows it. One that base lacks decides nothing, but where both were asked
        in one session: there the comparison itself was what was asked for.
        """
        by_name = {change.name: self._doubted(change) for change in judged}
        for figure in every(*boots, self.deciding):
            by_name.setdefault(figure.name, self._lacked(figure))
        for figure in self._nothing(by_name):
            why = self.new.reason(figure.path, figure.workload)
            by_name[figure.name] = figure.lacking("not measured", why)
        return tuple(sorted(by_name.values(), key=badness))

    def left_out(self, changes: Iterable[Change]) -> Iterator[str]:
        """What is missing and decides nothing, in words: what neither side's host can have, and
        what new was not asked for with the user's consent."""
        for each in self.new.info.missing:
            if self._impossible(each.path) and not any(c.path == each.path for c in changes):
                yield f"{each.path} is left out: {self.new.reason(each.path)}"
        for change in changes:
            if change.verdict == "not asked for" and not change.primary:
                yield f"left out: {change.why}"

    def _doubted(self, change: Change) -> Change:
        """A change; undecided if it looks well, but on what too many lost trials have left."""
        base, new = (side.tally(change.path, change.workload) for side in (self.base, self.new))
        well = change.verdict in ("no change", "improvement")
        if not well or base.share - new.share <= TOO_MANY:
            return change
        why = (
            f"only {new.valid} of {new.total} trials of new are valid, {base.valid} of "
            f"{base.total} of base: the others may be missing because they were slow"
        )
        return replace(change, verdict="undecided", why=why)

    def _lacked(self, figure: Figure) -> Change:
        """What is said of a figure that was not judged, though a side has it."""
        place = figure.path, figure.workload
        if figure.base and figure.new:
            return figure.lacking("undecided", "there is no block in which both sides have it")
        if figure.new:
            one_session = self.base.info is self.new.info
            verdict: Verdict = "not measured" if one_session else "only in new"
            return figure.lacking(verdict, self.base.reason(*place))
        if self.new.asked(*place):
            return figure.lacking("not measured", self.new.reason(*place))
        differs = "workloads" if figure.path in self.new.info.paths else "paths"
        # Older runs of a series may have what its newest one was no longer asked for.
        decides = figure.primary and self.base.asked(*place) and differs not in self.across
        return replace(figure, primary=decides).lacking("not asked for", self.new.reason(*place))

    def _nothing(self, by_name: dict[str, Change]) -> Iterator[Figure]:
        """What decides and is in neither side: figures that were named, else paths and workloads
        of which new has nothing, as a whole. Not what neither host can have."""
        if self.deciding:
            for name in self.deciding:
                if name not in by_name:
                    path, workload, metric = name.split("/")
                    yield Figure(path, workload, metric, {}, {}, primary=True)
            return
        known = {
            (each.path, each.workload)
            for each in by_name.values()
            if each.primary or not (math.isnan(each.new) or each.verdict == "not measured")
        }
        for path in self.new.info.paths:
            for workload in self.new.info.workloads:
                place = path, workload
                if workload != IDLE and place not in known and not self._impossible(path):
                    yield Figure(path, workload, WHOLE, {}, {}, primary=True)

    def _impossible(self, path: str) -> bool:
        """Has new's host not what the path takes, and base never had a trial of it?"""
        return self.new.impossible(path) and not self.base.all_of(path).total
