"""`nicproof bisect` on real repositories. The judge is a program that knows what is slow; `ab` is
it in live/test_bisect_live.py."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.cli.bisect import PASSED_ON
from harness.core.errors import ConfigError, LabError
from harness.core.flags import said
from harness.hosts.local import LocalHost
from harness.runs.bisect import Bisection, Found, Wanted, load, verdict_of
from harness.runs.repository import Repository
from suites.selftest.support import command

JUDGE = """
import json, os, sys, time
given = dict(word.partition("=")[::2] for word in sys.argv[1:])
run_dir, b = given["--run-dir"], given["--b"]
os.makedirs(run_dir)
open(os.environ["JUDGED"], "a").write(b + "\\n")
if "hang" in b:
    time.sleep(60)
if "broken" in b:
    sys.exit(4)
verdict = "regression" if "slow" in b else "undecided" if "noisy" in b else "no change"
figure = {"path": "sriov", "workload": "tcp-tx", "metric": "exits_per_packet", "primary": True}
figure |= {"unit": "exits/packet", "base": 0.01, "new": 0.05, "ratio": 5.0, "interval": [4.5, 5.5]}
if "lost" in b:
    verdict = "not measured"
document = {"changes": [{**figure, "verdict": verdict}]}
open(run_dir + "/regression.json", "w").write(json.dumps(document))
sys.exit({"regression": 1, "not measured": 1, "undecided": 3}.get(verdict, 0))
"""
"""Slow is what says so in its options; so is what is noisy, lost, or breaks the rig."""


class Tree:
    """A repository with a commit for each text of the file of options."""

    def __init__(self, place: Path, *options: str) -> None:
        self.path, self.shas = place, list[str]()
        place.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        for number, each in enumerate(options):
            (place / "options").write_text(each)
            (place / "number").write_text(str(number))
            self.git("add", ".")
            self.git("commit", "--quiet", "-m", f"commit {number}: {each}")
            self.shas.append(self.git("rev-parse", "HEAD"))

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return LocalHost().run(("git", "-C", str(self.path), *who, *words)).text.strip()

    def state(self) -> tuple[str, str, str]:
        """Branch, what is changed, trees."""
        head = self.git("symbolic-ref", "HEAD")
        return head, self.git("status", "--porcelain"), self.git("worktree", "list")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bisection]:
    """A bisect over commits with these options, the first of which is good, the last one bad."""
    judge = tmp_path / "judge.py"
    judge.write_text(JUDGE)
    monkeypatch.setenv("JUDGED", str(tmp_path / "judged"))

    def make(*options: str, build: str = "true", decides: bool = False) -> Bisection:
        tree = Tree(tmp_path / "tree", *options)
        repository = Repository.at(tree.path)
        good, bad = (repository.commit(sha, "") for sha in (tree.shas[0], tree.shas[-1]))
        (tmp_path / "out").mkdir()
        wanted = Wanted(("sh", "-c", build), "", "options", (), decides)
        program = (sys.executable, str(judge))
        return Bisection(repository, good, bad, wanted, tmp_path / "out", judge=program)

    return make


def judged() -> list[str]:
    return Path(os.environ["JUDGED"]).read_text().splitlines()


def tree_of(bisection: Bisection) -> Tree:
    tree = Tree.__new__(Tree)
    tree.path = bisection.repository.tree
    return tree


def run(bisection: Bisection, **more: bool) -> Found:
    """Its outcome; the tree is afterwards as it was."""
    tree = tree_of(bisection)
    before = tree.state()
    try:
        return bisection.run(**more)
    finally:
        assert tree.state() == before
        assert not (tree.path / ".git/BISECT_START").exists()


HISTORY = ("a", "b", "c", "d", "slow 1", "slow 2", "slow 3", "slow 4")


def test_the_first_bad_commit_is_found(made: Callable[..., Bisection]) -> None:
    bisection = made(*HISTORY)
    found = run(bisection)
    assert found.subject == "commit 4: slow 1"
    (figure,) = found.worse
    text = (
        "sriov/tcp-tx/exits_per_packet 0.01 -> 0.05 exits/packet, +400.0 % (+350.0 % to +450.0 %)"
    )
    assert str(figure) == text
    assert judged()[0] == "slow 4", "bad itself comes first"
    assert {each.verdict for each in found.steps} == {"good", "bad"}
    assert all((each.verdict == "bad") == ("slow" in each.subject) for each in found.steps)
    assert len(found.steps) <= 4, "one to begin with, and three that halve seven"
    assert msgspec.json.decode((bisection.directory / "bisect.json").read_bytes())["steps"]


def test_a_commit_beside_another_is_found_without_a_step_between(
    made: Callable[..., Bisection],
) -> None:
    assert run(made("a", "slow")).subject == "commit 1: slow"
    assert judged() == ["slow"]


def test_what_has_the_options_of_the_good_one_is_not_measured(
    made: Callable[..., Bisection],
) -> None:
    found = run(made("a", "a", "a", "slow", "slow", "slow"))
    assert found.subject == "commit 3: slow" and judged() == ["slow"], "nor what has the bad one's"
    assert {each.sha for each in found.steps if each.worse} >= {found.first_bad, found.bad}


def test_where_it_was_built_makes_a_revision_another_one(made: Callable[..., Bisection]) -> None:
    bisection = made("a", "a", "slow")
    bisection.wanted = replace(bisection.wanted, options="--qemu {tree}/qemu")
    assert run(bisection).subject == "commit 2: slow"
    tree = bisection.repository.tree
    assert judged() == [f"--qemu {tree}/qemu {each}" for each in ("slow", "a")]


@pytest.mark.parametrize("doubt", ["noisy", "lost"])
def test_what_cannot_be_told_is_skipped(made: Callable[..., Bisection], doubt: str) -> None:
    found = run(made("a", doubt, "b", "slow 1", "slow 2"))
    assert found.subject == "commit 3: slow 1"
    unclear = run(made_again(made, "a", doubt, "slow 2"))
    assert not unclear.first_bad and len(unclear.any_of) == 2


def made_again(made: Callable[..., Bisection], *options: str) -> Bisection:
    """Beside the first one."""
    place = Path(os.environ["JUDGED"]).parent
    for name in ("tree", "out"):
        (place / name).rename(place / f"{name}-1")
    return made(*options)


def test_what_cannot_be_built_is_skipped(made: Callable[..., Bisection]) -> None:
    found = run(made("a", "b", "c", "slow 1", "slow 2", build="! grep -q c options"))
    skipped = [each for each in found.steps if each.verdict == "skip"]
    assert all("ended with status 1: see " in each.why for each in skipped)
    assert found.subject == "commit 3: slow 1" or len(found.any_of) == 2


def test_a_rig_that_fails_ends_it_and_it_goes_on_from_there(
    made: Callable[..., Bisection],
) -> None:
    bisection = made("a", "b", "broken", "slow 1", "slow 2", "slow 3")
    with pytest.raises(LabError, match="status 4") as failed:
        run(bisection)
    assert f"--resume {bisection.directory}" in failed.value.remedy
    before = judged()
    bisection.judge = (sys.executable, "-c", JUDGE.replace('"broken" in b', "False"))
    bisection.steps = list(load(bisection.directory, bisection.good, bisection.bad))
    found = run(bisection, resumed=True)
    assert found.subject == "commit 3: slow 1"
    assert before.count("slow 3") == judged().count("slow 3") == 1, "what is known is kept"


def test_a_bad_commit_that_is_no_worse_is_told_before_others_are_looked_at(
    made: Callable[..., Bisection],
) -> None:
    with pytest.raises(ConfigError, match="not shown to be worse than good: 1 figures"):
        run(made("a", "slow", "b"))
    assert judged() == ["b"]


@pytest.mark.parametrize("where", ["build", "judge"])
def test_ctrl_c_is_answered_at_once_and_puts_the_tree_back(
    made: Callable[..., Bisection], where: str
) -> None:
    slow_build = "! grep -q hang options || exec sleep 60" if where == "build" else "true"
    bisection = made("a", "b", "hang", "slow 1", "slow 2", build=slow_build)
    script = bisection.directory.parent / "run.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.core.crash import guarded\n"
        "from harness.runs.bisect import Bisection, Wanted\n"
        "from harness.runs.repository import Repository\n"
        f"r = Repository(Path({str(bisection.repository.tree)!r}))\n"
        f"w = Wanted({bisection.wanted.command!r}, '', 'options', (), False)\n"
        f"g, b = r.commit({bisection.good.sha!r}, ''), r.commit({bisection.bad.sha!r}, '')\n"
        f"o = Path({str(bisection.directory)!r})\n"
        f"bisection = Bisection(r, g, b, w, o, judge={bisection.judge!r})\n"
        "sys.exit(guarded(lambda: bisection.run() and 0))"
    )
    tree = tree_of(bisection)
    before = tree.state()
    pid = os.posix_spawn(sys.executable, (sys.executable, str(script)), os.environ)
    waiting = "build-" if where == "build" else "hang"
    end = time.monotonic() + 60.0
    while time.monotonic() < end and not _hangs(bisection, waiting):
        time.sleep(0.1)
    begin = time.monotonic()
    os.kill(pid, signal.SIGINT)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert time.monotonic() - begin < 20.0
    assert tree.state() == before


def _hangs(bisection: Bisection, waiting: str) -> bool:
    """Is it where it never goes on by itself?"""
    if waiting == "hang":
        file = Path(os.environ["JUDGED"])
        return file.exists() and "hang" in file.read_text()
    options = bisection.repository.tree / "options"
    found = LocalHost().run(("pgrep", "-f", "^sleep 60$"), check=False).text
    return options.read_text() == "hang" and bool(found)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (("config", "x.y", "z"), ""),
        (("rm", "--quiet", "number"), "1 changed files, the first: D  number"),
        (("bisect", "start"), "is under bisect already"),
    ],
)
def test_a_tree_that_is_somebodys_work_is_refused(
    tmp_path: Path, spoil: tuple[str, ...], message: str
) -> None:
    tree = Tree(tmp_path / "tree", "a", "slow")
    repository = Repository.at(tree.path)
    ends = [repository.commit(each, "--good") for each in tree.shas]
    tree.git(*spoil)
    if not message:
        repository.require_fit(*ends)
        with pytest.raises(ConfigError, match="no ancestor of"):
            repository.require_fit(*reversed(ends))
        return
    with pytest.raises(ConfigError, match=message):
        repository.require_fit(*ends)


def test_what_is_wrong_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(tmp_path / "tree", "a", "slow")
    monkeypatch.chdir(tmp_path)
    wrong = {
        "bisect: no revision would differ": (),
        "--workloads: 'tpc' is not a workload": ("--b=--queues 2", "--workloads=tpc"),
        "--good HEAD~9: no commit of": ("--b=--queues 2", "--good=HEAD~9"),
        "no checkout of git": ("--b=--queues 2", f"--repo={tmp_path}"),
    }
    for message, options in wrong.items():
        argv = ("bisect", "--good=HEAD~1", "--bad=HEAD", f"--repo={tree.path}", "--no-history")
        result = command.nicproof(*argv, *options, "--", "touch", str(tmp_path / "built"))
        assert result.returncode == 2 and message in result.error, result.error
    assert not (tmp_path / "built").exists() and not (tmp_path / "results").exists()


def test_nothing_measured_is_no_verdict() -> None:
    with pytest.raises(LabError, match="measured nothing"):
        verdict_of({"changes": []})


def test_options_are_passed_on_as_they_were_given() -> None:
    words = ["--paths=sriov", "--max-blocks=6", "--no-history", "--exit-cost=2000"]
    argv = ["bisect", "--good=a", "--bad=b", *words, "--", "make", "-j8"]
    given = cli.command_line().parse_args(argv)
    assert given.command == ["make", "-j8"]
    assert sorted(said(given, PASSED_ON)) == sorted(words)
