"""What an act makes of failures, and that each case of the qualification has one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.core.errors import (
    CommandFailed,
    DeadlineExpired,
    GuestGone,
    GuestSilent,
    HostUnreachable,
    InUse,
    JournalFailed,
    Killed,
    LabError,
    MissingCapability,
    NotStarted,
    ProductFailure,
    Refused,
    RunOver,
    StoreFailed,
)
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal, UndoCommand
from harness.qemu.qmp import QemuGone, QmpError
from harness.qualify.rig.act import set_up, under_test
from harness.runs.suite import ROOT

SUITE = ROOT / "suites" / "qualification"
REMEDY = "see dmesg"


@pytest.mark.parametrize(
    "error",
    [
        LabError("l1: 0000:01:10.0 should be bound to igbvf and is bound to none", remedy=REMEDY),
        CommandFailed("l1", ("ip",), 2, "", "RTNETLINK answers: Input/output error"),
        Refused("l1: cannot write sriov_numvfs: Cannot allocate memory"),
        DeadlineExpired("a carrier on eth3 of l1 did not happen within 30 s"),
        QmpError("device_add", "GenericError", "vfio 0000:01:10.0: failed to reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_fails_in_an_act_is_the_products_failure(error: LabError) -> None:
    with pytest.raises(ProductFailure) as message, under_test("making VFs"):
        raise error
    assert message.value.message == f"making VFs failed: {error.message}"
    assert message.value.remedy == error.remedy
    assert not isinstance(message.value, LabError), (
        "whoever handles a rig's failure must not get it"
    )


@pytest.mark.parametrize(
    "error",
    [
        HostUnreachable("the connection was lost"),
        RunOver("no rig"),
        StoreFailed("disk full"),
        NotStarted("l1: cannot start iperf3"),
        Killed("l1", ("iperf3",), 137, "", ""),
        InUse("0000:01:00.0 already has 2 VFs"),
        JournalFailed("l1: cannot write: No space left on device"),
        GuestGone("the guest is gone"),
        QemuGone("QEMU is gone"),
        GuestSilent("the agent's answer did not come"),
        MissingCapability("FLR", "reset by bus"),
        AssertionError("3 of 4 arrived"),
        KeyboardInterrupt(),
        ZeroDivisionError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_never_the_products_passes_through_an_act(error: BaseException) -> None:
    with pytest.raises(type(error)) as message, under_test("making VFs"):
        raise error
    assert message.value is error


def test_what_an_act_sets_up_for_itself_is_not_under_test() -> None:
    with (
        pytest.raises(LabError, match="a server: nobody listens"),
        under_test("a stream"),
        set_up("a server"),
    ):
        raise LabError("nobody listens")


def test_a_program_that_is_not_there_blames_nobody() -> None:
    host = LocalHost()
    for argv in (("no-such-tool",), ("sh", "-c", "no-such-tool; exit 3"), ("sh", "no-such-file")):
        expected = LabError if argv[-1] != "no-such-file" else ProductFailure
        with pytest.raises(expected) as message, under_test("a test"):
            host.run(argv)
        assert isinstance(message.value, NotStarted) == (expected is LabError)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (1, 'exec of "nonesuch" failed: No such file or directory\n'),  # iproute2 6.15's netns exec
        (127, "sh: 1: nonesuch: not found\n"),  # dash 0.5.12
        (127, "sh: nonesuch: not found\n"),  # busybox 1.37
        (127, "sh: line 1: nonesuch: command not found\n"),  # bash 5.2
    ],
)
def test_how_shells_and_namespaces_tell_of_no_program(status: int, message: str) -> None:
    result = CommandResult("l1", ("ip",), status, b"", message.encode())
    with pytest.raises(NotStarted, match="l1: cannot start nonesuch"):
        result.checked()
    with pytest.raises(NotStarted):
        result.ended()


def test_a_refusal_of_sriov_numvfs_is_no_program_that_is_not_there() -> None:
    message = b"dd: error writing 'sriov_numvfs': No such file or directory\n"
    with pytest.raises(CommandFailed):
        CommandResult("l1", ("dd",), 1, b"", message).checked()


def test_a_command_that_was_killed_blames_nobody() -> None:
    with pytest.raises(Killed), under_test("a test"):
        LocalHost().run(("sh", "-c", "kill -KILL $$"))
    with pytest.raises(Killed), under_test("a test"):
        LocalHost().run(("sh", "-c", "sh -c 'kill -KILL $$'; exit $?"))


def test_a_journal_that_cannot_be_written_blames_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a directory")
    journal = Journal(LocalHost(), "run", root=f"{tmp_path}/file")
    with (
        pytest.raises(JournalFailed),
        under_test("a test"),
        journal.change("nothing", (UndoCommand(("true",)),)),
    ):
        raise AssertionError("the change is not made")


def functions(module: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(module.read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def has_act(function: ast.FunctionDef) -> bool:
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(isinstance(call.func, ast.Name) and call.func.id == "under_test" for call in calls)


@pytest.mark.parametrize("module", sorted(SUITE.glob("test_*.py")), ids=lambda path: path.stem)
def test_each_case_says_what_its_act_is(module: Path) -> None:
    """In its own text, or in that of a fixture of its module whose making is the act."""
    there = functions(module)
    acts = {name for name, function in there.items() if has_act(function)}
    without = [
        name
        for name, function in there.items()
        if name.startswith("test_")
        and not acts & {name, *(argument.arg for argument in function.args.args)}
    ]
    assert not without, f"no under_test in {', '.join(without)}"
