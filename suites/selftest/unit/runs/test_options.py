"""Every option at its edges, from the command line to what pytest has of it.

Options are sent as their declarations say: a new one is tested by itself, and fails here if it says
no bounds, no greatest length or no examples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import pytest
from msgspec import inspect

from harness.cli import main as cli
from harness.cli import sweep
from harness.cli.bench import MAX_BLOCKS, Against
from harness.cli.qualify import Together
from harness.core.errors import ConfigError
from harness.core.flags import Option, add_to, nonempty, options_of, says
from harness.core.status import Status
from harness.guest.image.diskfile import SECTOR, SIGNATURE
from harness.hosts.base import CommandResult
from harness.labs.shape import Machine
from harness.qualify.options import Qualification
from harness.records.cases import CASES_FILE
from harness.records.history.db import VARIABLE
from harness.records.store import FILENAME as RECORDS
from harness.runs import claim
from harness.runs.asked import OPTIONS, Asked, Measuring, Pair, Single, Where
from harness.runs.suite import ROOT, ROOTED
from harness.runs.variant import Variant
from reports.comparison.__main__ import main as judge
from suites.selftest.support.command import program_in

TAKES = {
    "bench": options_of(Measuring, Where, Machine, Single, Variant),
    "ab": options_of(Pair, Measuring, Where, Machine, Variant),
    "sweep": tuple(each for each in sweep.ASKED if each.name != "mtu"),  # over which it then is
    "qualify": options_of(Qualification, Where, Machine),
}
"""Command -> its options that go to pytest."""

OF_COMMANDS = {
    "bench": (*options_of(Against), *MAX_BLOCKS),
    "sweep": options_of(sweep.Resumed),
    "qualify": options_of(Together),
}
"""What a command keeps for itself."""

APART = (
    {"--no-history", "--history"},
    {"--no-history", "--name"},
    {"--guest-image", "--guest-append"},
    {"--ablate", "--a"},
    {"--ablate", "--b"},
    {"--clock", "--lab-cpus"},
    {"--clock", "--exit-cost"},
    {"--seconds", "--size"},
    {"--over", "--a"},
    {"--over", "--b"},
    {"--over", "--ablate"},
    *({"--over", flag} for flag in ("--queues", "--guest-cpus", "--lab-cpus", "--clock")),
)
"""Options that contradict each other."""

DUMP = """
import msgspec
import pytest
from fixtures.common.options import ASKED, begun
from harness.runs.claim import FILENAME

@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    config._do_configure()
    options = begun(config)
    print("HAS", msgspec.json.encode(config.stash[ASKED]).decode())
    print("KEPT", (options.run_dir / FILENAME).read_text().replace(chr(10), " "))
    print("IN", options.run_dir)
    config._ensure_unconfigure()
    return 0
"""
"""A plugin of pytest that tells what pytest has been told, and runs nothing."""

ALONE = ("--noconftest", "-pfixtures.common.options", "-pfixtures.common.progress", "-pdump")


def edges(option: Option) -> list[tuple[str, Any]]:
    """What can be said at the least and at the most, and the value that it means."""
    match option.kind:
        case inspect.BoolType():
            return [("", True)]
        case inspect.LiteralType(values=values):
            return [(str(value), value) for value in values]
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            assert low is not None and high is not None, f"{option.flag} says no bounds: ge, le"
            return [(str(value), value) for value in (low, high)]
        case inspect.VarTupleType():
            return [(text, [text]) for text in option.examples]
        case inspect.StrType(max_length=None):
            raise AssertionError(f"{option.flag} says no max_length")
        case inspect.StrType(min_length=least, max_length=most):
            assert most is not None
            free = ("" if not least else "x" * least, "x" * most)
            return [(text, text) for text in option.examples or free]


def beyond(option: Option) -> Iterator[str]:
    """What cannot be said."""
    match option.kind:
        case inspect.IntType(ge=low, le=high):
            assert low is not None and high is not None
            yield from ("", "x", "1e9", "0x10", "1.0", "9" * 5000, str(low - 1), str(high + 1))
        case inspect.FloatType(ge=low, le=high):
            assert low is not None and high is not None
            yield from ("", "x", "nan", "inf", "-inf", "0", "-1", str(low * 0.9), str(high * 1.1))
        case inspect.LiteralType():
            yield from ("", "x")
        case inspect.StrType(min_length=least, max_length=most):
            assert most is not None
            yield "x" * (most + 1)
            yield "\udcff"  # a byte that is not UTF-8, as Python has it from argv
            if least or (option.examples and "" not in option.examples):
                yield ""
            if option.metavar in ("NAMES", "FIGURES"):
                yield ","
        case inspect.VarTupleType():
            yield from ("", "x", "=", "queues=", "queues=1", "queues=1,x", "paths=native,sriov")


class New(msgspec.Struct):
    """Options that are to fail these tests."""

    count: Annotated[int, says("so many")] = 0
    share: Annotated[float, says("so much", ge=0)] = 0.0
    text: Annotated[str, says("so it is")] = ""


@pytest.mark.parametrize("option", options_of(New), ids=lambda option: option.name)
def test_an_option_without_bounds_fails_these_tests(option: Option) -> None:
    with pytest.raises(AssertionError, match=f"{option.flag} says no "):
        edges(option)


def test_every_option_of_pytest_is_taken_by_a_command() -> None:
    names = [each.name for each in OPTIONS]
    assert len(names) == len(set(names))
    assert {each.name for takes in TAKES.values() for each in takes} == set(names)


@dataclass(frozen=True)
class Row:
    """Options that are given together: the words, and what they mean."""

    words: dict[str, str] = field(default_factory=dict)  # by the options' flags
    means: dict[str, Any] = field(default_factory=dict)  # by their names


def rows(options: Sequence[Option], disk: str) -> list[Row]:
    """Each edge of each option in one of as few rows as its contradictions allow. The disk image
    is `disk`, since it is looked into."""
    made: list[Row] = []
    for option in options:
        for text, value in [(disk, disk)] if option.name == "guest_image" else edges(option):
            row = next((row for row in made if fits(option.flag, row)), None)
            if row is None:
                made.append(row := Row())
            switch = isinstance(option.kind, inspect.BoolType)
            row.words[option.flag] = option.flag if switch else f"{option.flag}={text}"
            row.means[option.name] = value
    return made


def fits(flag: str, row: Row) -> bool:
    return flag not in row.words and not any(flag in two and two & {*row.words} for two in APART)


def run(tmp_path: Path, *argv: str) -> CommandResult:
    """A program of nicproof's, where there is neither an inventory nor a history of the user's."""
    (tmp_path / "dump.py").write_text(DUMP)
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "XDG_CONFIG_HOME": str(tmp_path)}
    env |= {VARIABLE: str(tmp_path / "history.db")}
    module, *words = argv
    return program_in(tmp_path, module, *words, **env)


def arrived(tmp_path: Path, row: Row, *argv: str) -> None:
    """What pytest has, and what is kept beside the records to be, is what was said."""
    result = run(tmp_path, *argv)
    assert result.returncode == 0, result.text + result.error
    answer = dict(line.split(" ", 1) for line in result.text.splitlines() if " " in line)
    has, kept = json.loads(answer["HAS"]), json.loads(answer["KEPT"])
    assert has == kept
    values = {k: v for part in has.values() if isinstance(part, dict) for k, v in part.items()}
    assert {name: values[name] for name in row.means} == row.means
    run_dir = Path(answer["IN"])
    if "run_dir" in row.means:
        assert run_dir == tmp_path / str(row.means["run_dir"])
    else:
        assert run_dir == tmp_path / "results" / has["run"], "the run's id is its directory's name"
    assert not (run_dir / claim.FILENAME).exists(), "nothing was measured: it is free again"


CALLED = {"--strict-verdict": "--strict"}
"""What a command calls otherwise than pytest, which has a --strict of its own."""


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A disk image, as far as is known before a guest boots it."""
    path = tmp_path_factory.mktemp("disk") / "a disk.img"
    path.write_bytes(bytes(SECTOR - len(SIGNATURE)) + SIGNATURE)
    return str(path)


@pytest.mark.parametrize("command", TAKES)
def test_every_edge_arrives_from_a_command(command: str, tmp_path: Path, disk: str) -> None:
    for row in rows(TAKES[command], disk):
        two = command == "ab" and not {"a", "b", "ablate"} & row.means.keys()
        words = [CALLED.get(word, word) for word in row.words.values()]
        words += ["--b=--virtio=some=thing"] if two else []
        bare = command == "sweep" and "over" not in row.means
        words += ["--over=mtu=1500,9000"] if bare else []
        arrived(tmp_path, row, "harness.cli", command, *words, "--", *ALONE)


def test_every_edge_arrives_by_pytests_own_door(tmp_path: Path, disk: str) -> None:
    for row in rows(OPTIONS, disk):
        arrived(tmp_path, row, "pytest", *ROOTED, *ALONE, *row.words.values())


WRONG = [
    (command, option, text)
    for takes in (TAKES, OF_COMMANDS)
    for command, options in takes.items()
    for option in options
    for text in beyond(option)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; nothing is started from it."""

    def started(*argv: object) -> NoReturn:
        raise AssertionError(f"started: {argv}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("os.execv", started)
    monkeypatch.setattr("os.posix_spawn", started)
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command says of them: one error of the user's, and nothing else happened."""
    assert cli.main([*words]) == 2, words
    output = capsys.readouterr().err
    assert output.startswith("nicproof: ") and output.count("nicproof: ") == 1
    assert not list(Path().iterdir()), "something was made"
    return output


@pytest.mark.parametrize(
    ("command", "option", "text"),
    WRONG,
    ids=[f"{command} {option.flag}={text[:12]!a}" for command, option, text in WRONG],
)
@pytest.mark.usefixtures("here")
def test_what_is_beyond_is_one_error_at_the_command(
    command: str, option: Option, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--b=--vhost=on"] if command == "ab" and option.name not in ("ablate", "b") else []
    more = ["--over=mtu=1500,9000"] if command == "sweep" and option.name != "over" else more
    message = refused(capsys, command, *more, f"{option.flag}={text}")
    assert option.flag in message, message
    assert len(message) < 5000, "what was said is repeated in part"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "--", "--boots=3"), "--boots: it is not pytest's"),
        (("bench", "--", "--options-file=x"), "--options-file: it is not pytest's"),
        (("qualify", "-n2", "--", "-n3"), "-n 2 and -- -n 3: one or the other"),
        (("bench", "--confirm"), "--confirm: it says nothing without --against"),
        (("bench", "--max-blocks=3"), "--max-blocks: it says nothing without --against"),
        (("bench", "--against=main"), "--against main: no run of that name"),
        (("bench", "--run-dir=/dev/null/x"), "--run-dir /dev/null/x: cannot be made: Not a dir"),
        (("bench", f"--run-dir={__file__}"), "cannot be made: File exists"),
        (("bench", f"--run-dir={'x' * 256}"), "cannot be made: File name too long"),
        (("bench", f"--lab={'x' * 256}#y"), "cannot read"),
        (("bench", f"--guest-image={'x' * 256}"), "File name too long"),
        (("ab", "--b=--rx-usecs nan"), "--rx-usecs nan: a whole number from 0"),
        (("ab", "--b=--queues 0"), "--queues 0: a whole number from 1"),
        (("qualify", "--soak=169h"), "--soak 169h: a duration up to 168h"),
    ],
)
def test_what_cannot_be_is_told_at_the_command(
    words: tuple[str, ...],
    message: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, str(here.parent / "history.db"))
    assert message in refused(capsys, *words)


def test_what_is_given_beside_the_document_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--boots=3")
    result = run(tmp_path, "harness.cli", "bench", "--no-history", "--", *ALONE)
    assert result.returncode == Status.USAGE
    assert "--boots: the run is asked for by" in result.error
    assert "Traceback" not in result.text + result.error


WORKER = """
from pathlib import Path
from fixtures.common.options import ASKED, begun
from harness.runs.claim import load

def test_it(pytestconfig, worker_id):
    run_dir = begun(pytestconfig).run_dir
    kept, _ = load(run_dir / "options.json")
    assert kept == pytestconfig.stash[ASKED]
    assert (kept.measuring.seed, kept.configuration.rx_usecs) == (0, 0)
    (Path(__file__).parent / worker_id).write_text(str(run_dir))
"""


@pytest.mark.parametrize("door", ["pytest", "document"])
def test_workers_have_the_run_of_their_controller(door: str, tmp_path: Path) -> None:
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(WORKER)
    given: tuple[str, ...] = ("--seed=0", "--rx-usecs=0")
    if door == "document":
        asked = Asked.of(parsed(*given, f"--run-dir={tmp_path / 'run'}"))
        _, run_dir = claim.claim(asked)
        given = (f"--options-file={run_dir / claim.FILENAME}",)
    argv = ("-q", "-n2", "--dist=loadfile", "-pfixtures.common.options", *given, ".")
    result = run(tmp_path, "pytest", *argv)
    assert result.returncode == 0, result.text + result.error
    output = {path.read_text() for path in tmp_path.glob("gw?")}
    (run_dir,) = map(Path, output)
    assert run_dir.parent == (tmp_path / "results" if door == "pytest" else tmp_path)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_to(parser.add_argument, OPTIONS)
    return parser.parse_args(words)


def test_of_many_claims_to_a_directory_one_holds(tmp_path: Path) -> None:
    """In as many processes at once."""
    program = (
        "import sys; from harness.runs import asked, claim; from argparse import Namespace; "
        "sys.stdin.readline(); "
        f"claim.claim(asked.Asked.of(Namespace(run_dir={str(tmp_path / 'run')!r})))"
    )
    argv = (sys.executable, "-c", program)
    pipe = subprocess.PIPE
    many = [subprocess.Popen(argv, cwd=ROOT, stdin=pipe, stderr=pipe, text=True) for _ in range(4)]
    for each in many:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    ends = [(each.communicate()[1], each.returncode) for each in many]
    assert sorted(code for _, code in ends) == [0, 1, 1, 1]
    assert sum("another run has begun there" in error for error, _ in ends) == 3


def test_runs_of_one_second_have_directories_of_their_own(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(["same", "same", "other"])
    monkeypatch.setattr(claim, "new_run", lambda: next(ids))
    taken = [claim.claim(Asked.of(parsed())) for _ in range(2)]
    assert [asked.run for asked, _ in taken] == ["same", "other"]
    assert [run_dir for _, run_dir in taken] == [here / "results" / n for n in ("same", "other")]


def test_a_run_id_is_no_other_runs_of_that_second() -> None:
    ids = {claim.new_run() for _ in range(50)}
    assert len(ids) > 45 and len({each[:15] for each in ids}) <= 2


@pytest.mark.parametrize("name", [RECORDS, CASES_FILE])
def test_a_directory_is_kept_with_its_records_and_given_back_without(
    name: str, tmp_path: Path
) -> None:
    asked = Asked.of(parsed(f"--run-dir={tmp_path / 'run'}"))
    _, run_dir = claim.claim(asked)
    with pytest.raises(ConfigError, match=f"remove {run_dir}/options.json if that run is over"):
        claim.claim(asked)
    claim.give_back(run_dir)
    assert not run_dir.exists()
    claim.claim(asked)
    (run_dir / "launch").mkdir()
    (run_dir / "launch" / name).touch()
    claim.give_back(run_dir)
    assert claim.load(run_dir / claim.FILENAME)[0].where == asked.where
    (run_dir / name).touch()
    with pytest.raises(ConfigError, match="already holds a run"):
        claim.claim(asked)


def test_a_password_is_not_kept_beside_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "elsewhere.db")
    url = "postgresql://ada:secret@db/nicproof"
    _, run_dir = claim.claim(Asked.of(parsed(f"--history={url}", f"--run-dir={tmp_path}/run")))
    assert "secret" not in (run_dir / claim.FILENAME).read_text()
    assert claim.load(run_dir / claim.FILENAME)[0].where.history is None
    assert os.environ[VARIABLE] == url, "whoever reads the document finds the history there"


def test_a_document_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / claim.FILENAME
    for text in ("", "{", '{"colour": 1}', '{"single": {"boots": 0}}'):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"options\.json: no options of a run"):
            claim.load(file)


UNNAMED = {"--name"}
"""Of `history`: "" are the runs that belong to no series."""


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in {id(each): each for each in action.choices.values()}.values():
                yield from parsers(each)


def test_no_command_takes_nothing_for_something() -> None:
    """An unset variable of a shell's is not what was meant, wherever a word is wanted."""
    kept = options_of(Against, sweep.Resumed, Together)  # by commands for themselves
    ours = {each.flag for each in (*OPTIONS, *kept)}
    seen = 0
    for parser in parsers(cli.command_line()):
        for action in parser._actions:
            stores = isinstance(action, argparse._StoreAction | argparse._AppendAction)
            if not stores or action.choices or action.type is int or "--" in str(action.metavar):
                continue
            flags = {*action.option_strings}
            of_history = "history" in parser.prog and flags & UNNAMED
            if not flags & ours - {"--name", "--history"} and not of_history:
                own = action.type is None and flags & ours
                assert own or action.type is nonempty, f"{parser.prog} {action.dest}"
                seen += 1
    assert seen > 25


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "--gone="),
        ("doctor", ""),
        ("inventory", "check", ""),
        ("inventory", "discover", "local", "--out="),
        ("compare", "", "new"),
        ("compare", "base", "new", "--out="),
        ("report", "results", "--explain="),
        ("history", "plot", "throughput", "--path="),
        ("persist", "alpha", "--port="),
    ],
)
def test_nothing_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words])
    assert ended.value.code == 2
    assert "it is empty" in capsys.readouterr().err


def test_the_reports_judge_against_what_is_named(tmp_path: Path) -> None:
    assert judge(["--against=", str(tmp_path)]) == 2
