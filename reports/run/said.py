"""What a report says first, for a program: `nicproof report RUN_DIR --json`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.records.run import Run
from reports.run import answers, explain, frames, tables
from reports.run.claims import judge_claims


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A path's figure, with its interval."""

    path: str
    value: float
    low: float
    high: float


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Which path is best by one figure."""

    workload: str
    metric: str
    unit: str
    best: tuple[str, ...]  # and those within its spread
    ranked: tuple[Ranked, ...]  # the best first


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    run: str
    report: str  # the page
    finished: bool
    trials: int
    valid: int  # of the trials
    headline: str
    answers: tuple[Answered, ...]
    claims: dict[str, str]  # in short -> verdict
    packet: dict[str, dict[str, dict[str, float]]]  # path -> workload -> metric: its time's parts


def text(run: Run, page: Path) -> str:
    """The document, indented."""
    boots = frames.per_boot(frames.measurements(run))
    found = tables.estimates(boots)
    given = answers.answers(run, found)
    said = Said(
        run=run.info.run,
        report=str(page),
        finished=run.info.finished,
        trials=len(run.trials),
        valid=sum(each.valid for each in run.trials),
        headline=answers.headline(given),
        answers=tuple(_answered(run, each) for each in given),
        claims={each.declared.short: each.verdict for each in judge_claims(run, boots)},
        packet=explain.parts(run, found),
    )
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode()


def _answered(run: Run, answer: answers.Answer) -> Answered:
    return Answered(
        workload=answer.workload,
        metric=answer.metric,
        unit=run.unit(answer.metric),
        best=answer.best,
        ranked=tuple(
            Ranked(path=path, value=each.value, low=each.low, high=each.high)
            for path, each in answer.ranked
        ),
    )
