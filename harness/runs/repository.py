"""A git repository under `git bisect`, as `nicproof bisect` drives it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from harness.core.deadline import Deadline
from harness.core.errors import CommandFailed, ConfigError, LabError, NotStarted
from harness.core.signals import ANSWER, deferred
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost

GIT_LIMIT = 600.0
"""Seconds of one git command: a checkout of a kernel on a slow disk."""

FOUND = re.compile(r"^([0-9a-f]{40,64}) is the first bad commit$", re.MULTILINE)
ONLY_SKIPPED = "The first bad commit could be any of:"
"""What `git bisect` says when it knows, and when it cannot."""

LEFT = re.compile(r"roughly (\d+) steps?\)")


@dataclass(frozen=True)
class Commit:
    """A commit, for a person."""

    sha: str
    subject: str

    def __str__(self) -> str:
        return f"{self.sha[:12]} {self.subject}"


@dataclass(frozen=True)
class Answer:
    """What `git bisect` said: the first bad commit, or that it could be any of some, or neither."""

    first_bad: str = ""
    any_of: tuple[str, ...] = ()
    steps_left: int | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.first_bad or self.any_of)


@dataclass(frozen=True)
class Repository:
    """A checkout."""

    tree: Path

    @classmethod
    def at(cls, directory: Path) -> Repository:
        """The checkout that a directory is in. ConfigError if it is in none, or git is not here."""
        try:
            found = cls(directory).git("rev-parse", "--show-toplevel")
        except NotStarted as error:
            raise ConfigError("bisect: git is not here", remedy="install git") from error
        except CommandFailed as error:
            raise ConfigError(
                f"--repo {directory}: no checkout of git", remedy="name a directory of one"
            ) from error
        return cls(Path(found.text.strip()))

    def git(self, *words: str, check: bool = True) -> CommandResult:
        argv = ("git", "-C", str(self.tree), *words)
        return LocalHost().run(argv, timeout=GIT_LIMIT, check=check)

    def commit(self, revision: str, flag: str) -> Commit:
        """ConfigError, with the option that named it, if there is no such commit."""
        words = ("log", "-1", "--format=%H %s", "--end-of-options", revision, "--")
        found = self.git(*words, check=False)
        if found.returncode or not found.text.strip():
            raise ConfigError(
                f"{flag} {revision}: no commit of {self.tree}", remedy="see git log there"
            )
        sha, _, subject = found.text.strip().partition(" ")
        return Commit(sha, subject)

    def require_fit(self, good: Commit, bad: Commit) -> None:
        """ConfigError if the tree is changed or under bisect, or good is no ancestor of bad."""
        started = self.git("rev-parse", "--git-path", "BISECT_START").text.strip()
        if (self.tree / started).exists():
            raise ConfigError(
                f"{self.tree} is under bisect already",
                remedy=f"end that first: git -C {self.tree} bisect reset",
            )
        changed = self.git("status", "--porcelain", "--untracked-files=no").text.splitlines()
        if changed:
            raise ConfigError(
                f"{self.tree}: {len(changed)} changed files, the first: {changed[0].strip()}",
                remedy="commit them, or put them away: git stash",
            )
        ancestor = self.git("merge-base", "--is-ancestor", good.sha, bad.sha, check=False)
        if ancestor.returncode or good.sha == bad.sha:
            raise ConfigError(
                f"--good {good}: no ancestor of --bad {bad}",
                remedy="bisect goes forward from good to bad",
            )

    @contextmanager
    def bisected(self, log: Path) -> Iterator[None]:
        """Whatever happens, the tree is afterwards as it was; what git has learnt is in `log`."""
        try:
            yield
        except KeyboardInterrupt:
            print(f"\nnicproof: {ANSWER}", file=sys.stderr, flush=True)
            raise
        finally:
            with deferred():
                learnt = self.git("bisect", "log", check=False)
                if not learnt.returncode:
                    log.write_bytes(learnt.stdout)
                if self.git("bisect", "reset", check=False).returncode:
                    # The tree had no changes, so those that stand in the way are COMMAND's.
                    self.git("reset", "--hard", "--quiet")
                    self.git("bisect", "reset")

    def start(self, good: Commit, bad: Commit) -> Answer:
        return self._bisect("start", bad.sha, good.sha)

    def replay(self, log: Path) -> Answer:
        """Go on from where a log ends. ConfigError if it is none of this repository."""
        try:
            return self._bisect("replay", str(log.resolve()))
        except LabError as error:
            raise ConfigError(f"{log}: {error.message}", remedy="begin anew") from error

    def check_out(self, revision: str) -> None:
        """Whatever git takes for good and bad. LabError if COMMAND changed what stands there."""
        with deferred():
            self.git("checkout", "--quiet", "--detach", revision)

    def check_out_expected(self) -> None:
        """The revision that git has chosen to be looked at; none if it knows enough already."""
        path = self.git("rev-parse", "--git-path", "BISECT_EXPECTED_REV").text.strip()
        if (self.tree / path).exists():
            self.check_out((self.tree / path).read_text().strip())

    def mark(self, word: str) -> Answer:
        """The commit that is checked out is good, bad or to be left out (skip)."""
        return self._bisect(word)

    def _bisect(self, *words: str) -> Answer:
        with deferred():  # a checkout by half would stand in the way of what puts the tree back
            said = self.git("bisect", *words, check=False)
        text = said.text + said.error
        if found := FOUND.search(text):
            return Answer(first_bad=found[1])
        if ONLY_SKIPPED in text:
            *_, listed = text.partition(ONLY_SKIPPED)
            return Answer(any_of=tuple(re.findall(r"^([0-9a-f]{40,64})$", listed, re.MULTILINE)))
        if said.returncode:
            self._failed(words, text)
        left = LEFT.search(text)
        return Answer(steps_left=int(left[1]) if left else None)

    def _failed(self, words: Sequence[str], text: str) -> NoReturn:
        raise LabError(
            f"{self.tree}: git bisect {' '.join(words)}: {text.strip()[-500:]}",
            remedy="does COMMAND change files that git knows?",
        )

    @contextmanager
    def beside(self, commit: Commit, place: Path) -> Iterator[Path]:
        """A second tree of the repository, of this commit, at `place` until the context ends."""
        with deferred():
            self.git("worktree", "add", "--detach", "--force", str(place), commit.sha)
        try:
            yield place
        finally:
            with deferred():
                shutil.rmtree(place, ignore_errors=True)
                self.git("worktree", "prune", check=False)


def build(argv: Sequence[str], tree: Path, log: Path, limit: Deadline) -> str:
    """Run COMMAND in a tree, its output in `log`; "" if it went well, else why not."""
    inside = ("env", "-C", str(tree), *argv)
    ended = LocalHost().run(inside, timeout=limit.left, check=False)
    log.write_bytes(ended.stdout + ended.stderr)
    if not ended.returncode:
        return ""
    return f"{shlex.join(argv)} ended with status {ended.returncode}: see {log}"
