"""Which commit made it slower? `git bisect`, each revision judged beside the good one by `ab`.

The revision under test is built in the repository's own tree, the good one in a second tree beside
it, and both are booted in turn in one session: machines drift, so no figure is kept from one step
to the next.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import ConfigError, LabError
from harness.core.status import Status
from harness.runs.claim import PUTTING_BACK
from harness.runs.repository import Answer, Commit, Repository, build
from harness.runs.suite import python, run_and_wait

TREE = "{tree}"
"""In options: the directory of the revision."""

BUILD_LIMIT_S = 24 * 3600.0
"""Of COMMAND: a distribution's kernel on a slow machine, not one that hangs."""

STATE, LOG = "bisect.json", "bisect.log"
"""In the directory of a bisect: what is known, and `git bisect log`."""

Verdict = Literal["good", "bad", "skip"]
Judged: TypeAlias = "tuple[Verdict, str, tuple[Figure, ...]]"
"""A verdict, why, and the figures that are worse."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that is worse, as regression.json has it."""

    path: str
    workload: str
    metric: str
    unit: str
    base: float | None
    new: float | None
    ratio: float | None
    interval: tuple[float | None, float | None]

    @property
    def name(self) -> str:
        return f"{self.path}/{self.workload}/{self.metric}"

    def __str__(self) -> str:
        return f"{self.name} {_number(self.base)} -> {_number(self.new)} {self.unit}, " + (
            f"{_percent(self.ratio)} ({_percent(self.interval[0])} to {_percent(self.interval[1])})"
        )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _percent(ratio: float | None) -> str:
    return "any" if ratio is None else f"{100 * (ratio - 1):+.1f} %"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A revision that was looked at."""

    sha: str
    subject: str
    verdict: Verdict
    why: str
    run_dir: str = ""  # of its `ab`; "" if there was none
    worse: tuple[Figure, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a bisect came to."""

    good: str
    bad: str
    first_bad: str = ""  # "": it could not be told
    subject: str = ""
    any_of: tuple[str, ...] = ()  # where it could not: those that it could be
    worse: tuple[Figure, ...] = ()  # at the first bad commit, beside the good one
    steps: tuple[Step, ...] = ()  # the first one is bad itself


@dataclass(frozen=True)
class Wanted:
    """What is built and how it is measured."""

    command: tuple[str, ...]
    options: str  # of a revision's configuration, with TREE in it
    options_from: str  # a file in the tree, whose content are further ones; "" for none
    ab: tuple[str, ...]  # further words for `ab`
    decides: bool  # is it said in them which figures decide?

    def configuration(self, tree: Path) -> str:
        """Of the revision in a tree. LabError if COMMAND did not leave the file."""
        words = self.options.replace(TREE, str(tree))
        if not self.options_from:
            return words
        file = tree / self.options_from
        try:
            return f"{words} {' '.join(file.read_text().split())}".strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LabError(f"{file}: cannot be read: {error}") from error

    @property
    def is_all_in_words(self) -> bool:
        """Is a configuration the same whenever its options are, wherever it was built?"""
        return TREE not in self.options


@dataclass
class Bisection:
    """One bisect, its results in `directory`. `judge` is the program that takes the words of `ab`,
    and leaves a regression.json in its --run-dir."""

    repository: Repository
    good: Commit
    bad: Commit
    wanted: Wanted
    directory: Path
    judge: tuple[str, ...] = (*python("harness.cli"), "ab")
    steps: list[Step] = field(default_factory=list)
    _known: dict[str, Judged] = field(default_factory=dict)
    """By configurations that say all in words: what has the same ones is not measured again."""

    def run(self, *, resumed: bool = False) -> Found:
        """The outcome. The tree is as before, whatever happens; `resumed` goes on from what an
        earlier run left in the directory.

        ConfigError if the bad commit is no worse; LabError if the rig or git failed.
        """
        log = self.directory / LOG
        with ExitStack() as stack:
            # The log is read before it is written anew.
            stack.enter_context(self.repository.bisected(log))
            beside = stack.enter_context(self.repository.beside(self.good, self.directory / "good"))
            if why := self._build(beside, "good"):
                raise LabError(f"good, {self.good}: cannot be built: {why}")
            reference = self.wanted.configuration(beside)
            if resumed:
                answer = self.repository.replay(log)
            else:
                answer = self.repository.start(self.good, self.bad)
                self._confirm(reference)
                self.repository.check_out_expected()
            while not answer.is_over:
                commit = self.repository.commit("HEAD", "bisect")
                left = answer.steps_left
                self._say(f"{commit}" + ("" if left is None else f", about {left + 1} left"))
                step = self._step(commit, reference)
                answer = self.repository.mark(step.verdict)
            return self._found(answer)

    def _confirm(self, reference: str) -> None:
        """Judge the bad commit first: what is not seen there is not seen at any."""
        self._say(f"bad, {self.bad}: is it worse than good?")
        self.repository.check_out(self.bad.sha)
        step = self._step(self.bad, reference)
        if step.verdict != "bad":
            raise ConfigError(
                f"--bad {self.bad}: not shown to be worse than good: {step.why}",
                remedy="measure what is worse there (--paths, --workloads, --decide), or allow "
                "more --max-blocks",
            )

    def _step(self, commit: Commit, reference: str) -> Step:
        """Build and judge what is checked out."""
        number = len(list(self.directory.glob("build-*.log")))
        place = self.directory / f"{number:02}-{commit.sha[:12]}"
        verdict, why, worse = self._judged(place, reference)
        step = Step(
            sha=commit.sha,
            subject=commit.subject,
            verdict=verdict,
            why=why,
            run_dir=str(place) if place.exists() else "",
            worse=worse,
        )
        self.steps.append(step)
        self._say(f"{commit.sha[:12]} is {verdict}: {why}")
        (self.directory / STATE).write_bytes(
            msgspec.json.format(msgspec.json.encode(self._state()), indent=2)
        )
        return step

    def _judged(self, place: Path, reference: str) -> Judged:
        tree = self.repository.tree
        if why := self._build(tree, place.name):
            return "skip", why, ()
        try:
            this = self.wanted.configuration(tree)
        except LabError as error:
            return "skip", error.message, ()
        if not self.wanted.is_all_in_words:
            return verdict_of(self._compared(place, reference, this))
        if this == reference:
            return "good", "it has the options of the good one", ()
        if this not in self._known:
            self._known[this] = verdict_of(self._compared(place, reference, this))
        return self._known[this]

    def _build(self, tree: Path, name: str) -> str:
        log = self.directory / f"build-{name}.log"
        return build(self.wanted.command, tree, log, Deadline(BUILD_LIMIT_S, "COMMAND"))

    def _compared(self, place: Path, reference: str, this: str) -> dict[str, Any]:
        """What `ab` found. LabError if it came to no verdict; KeyboardInterrupt if it was told to
        end."""
        argv = [*self.judge, f"--a={reference}", f"--b={this}", f"--run-dir={place}"]
        argv += self.wanted.ab
        if self.steps and not self.wanted.decides:
            argv.append(f"--decide={','.join(each.name for each in self.steps[0].worse)}")
        status = run_and_wait(argv, place / PUTTING_BACK)
        if status == Status.INTERRUPTED:
            raise KeyboardInterrupt
        file = place / "regression.json"
        if status not in (Status.OK, Status.FAILED, Status.UNDECIDED) or not file.exists():
            raise LabError(
                f"ab came to no verdict: it ended with status {status}",
                remedy=f"mend that, then go on: the same command with --resume {self.directory}",
            )
        found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
        return found

    def _found(self, answer: Answer) -> Found:
        by_sha = {each.sha: each for each in self.steps}
        first = by_sha.get(answer.first_bad)
        return Found(
            good=self.good.sha,
            bad=self.bad.sha,
            first_bad=answer.first_bad,
            subject=first.subject if first else "",
            any_of=answer.any_of,
            worse=first.worse if first else (),
            steps=tuple(self.steps),
        )

    def _state(self) -> Found:
        return Found(good=self.good.sha, bad=self.bad.sha, steps=tuple(self.steps))

    def _say(self, line: str) -> None:
        print(f"bisect: {line}", file=sys.stderr, flush=True)


def verdict_of(found: dict[str, Any]) -> Judged:
    """Of a regression.json: worse is bad, undecided or lost is skip, else it is good.

    LabError if no figure was measured on either side: that is the rig's doing.
    """
    primary = [each for each in found["changes"] if each["primary"]]
    if not primary:
        raise LabError("ab measured nothing that could be judged", remedy="see its report")
    worse = [each for each in primary if each["verdict"] == "regression"]
    if worse:
        figures = tuple(msgspec.convert(each, Figure) for each in worse)
        return "bad", "; ".join(map(str, figures)), figures
    open_ = [each for each in primary if each["verdict"] not in ("no change", "improvement")]
    if open_:
        named = (f"{each['path']}/{each['workload']}/{each['metric']}" for each in open_)
        verdicts = ", ".join(dict.fromkeys(each["verdict"] for each in open_))
        return "skip", f"{verdicts}: {', '.join(named)}", ()
    return "good", f"{len(primary)} figures are no worse", ()


def load(directory: Path, good: Commit, bad: Commit) -> Sequence[Step]:
    """The steps of an earlier bisect of these commits. ConfigError if there is none."""
    try:
        state = msgspec.json.decode((directory / STATE).read_bytes(), type=Found)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"--resume {directory}: no bisect: {error}") from error
    if (state.good, state.bad) != (good.sha, bad.sha) or not (directory / LOG).exists():
        raise ConfigError(
            f"--resume {directory}: of other commits, or it has not begun",
            remedy=f"--good {state.good[:12]} --bad {state.bad[:12]}",
        )
    return state.steps
