"""`nicproof restore`, on files of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harness.cli import main as cli
from harness.cli import restore
from harness.inventory.spec import HostSpec
from harness.journal.journal import BOOT_ID, DIRECTORY, Entry, UndoCommand, UndoWrite
from harness.labs.real.lock import Owner
from suites.selftest.support.rooted_host import RootedHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootedHost:
    """The host that every HOST means; nobody is at work there."""
    message = {"sh -c one": "", "sh -c two": "", "python3 --version": "Python 3.11.2\n"}
    host = RootedHost(tmp_path / "alpha", message)

    @contextmanager
    def reached(spec: HostSpec) -> Iterator[RootedHost]:
        host.name = spec.name
        yield host

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(restore, "reached", reached)
    monkeypatch.setattr(restore, "owners", lambda _: ())
    monkeypatch.setattr(restore, "end_orphans", lambda _: ())
    return host


def crashed(host: RootedHost, run: str, *scripts: str) -> None:
    """A run was killed that had made a change for each of the undoing scripts."""
    for number, script in enumerate(scripts):
        entry = Entry(f"change {script}", (UndoCommand(("sh", "-c", script)),))
        host.put(f"{DIRECTORY}/{run}/{number:06d}.json", msgspec.json.encode(entry))


@pytest.mark.parametrize(("asked", "name"), [([], "localhost"), (["root@a.lab"], "root@a.lab")])
def test_every_change_is_undone_and_told(
    asked: list[str], name: str, host: RootedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed(host, "run-1", "one", "two")
    assert cli.main(["restore", *asked]) == 0
    assert capsys.readouterr().out == f"{name}: undone: change two\n{name}: undone: change one\n"
    assert cli.main(["restore", *asked]) == 0
    assert capsys.readouterr().out == f"{name}: nothing to restore\n"


def test_a_host_whose_python_is_too_old_is_told_and_left_alone(
    host: RootedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without our own programs there nobody knows what still runs of a run that was killed."""
    crashed(host, "run-1", "one")
    host.answers["python3 --version"] = "Python 3.6.8\n"
    assert cli.main(["restore"]) == 2
    assert "localhost: python3 is 3.6.8, 3.9 or newer is wanted" in capsys.readouterr().err
    assert host.glob(f"{DIRECTORY}/run-1/*")


@pytest.mark.usefixtures("host")
def test_a_host_of_the_inventory_is_meant_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rack.toml").write_text('[host.beta]\naddress = "b.lab"\n')
    assert cli.main(["restore", "beta", "--inventory", "rack.toml"]) == 0
    assert capsys.readouterr().out == "beta: nothing to restore\n"


def test_what_cannot_be_undone_is_the_exit_status(
    host: RootedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed(host, "run-1", "fails", "two")
    assert cli.main(["restore"]) == 1
    output = capsys.readouterr()
    assert "undone: change two" in output.out
    assert "could not undo “change fails”" in output.err


def test_a_run_that_is_at_work_is_left_alone(
    host: RootedHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(host, "run-1", "one")
    owner = Owner("run-1", "ada@alpha", "now")
    monkeypatch.setattr(restore, "owners", lambda _: (owner, owner))
    assert cli.main(["restore"]) == 0
    assert capsys.readouterr().out == (
        "localhost: left alone, since it is at work: run run-1 of ada@alpha, since now "
        "(is it gone? --gone run-1)\n"
        "localhost: nothing to restore\n"
    )
    assert host.glob(f"{DIRECTORY}/run-1/*")


def test_a_port_that_somebody_uses_by_now_is_left_alone(
    host: RootedHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bdf = "0000:01:00.0"
    entry = Entry("made VFs", (UndoWrite(f"/sys/bus/pci/devices/{bdf}/sriov_numvfs", "0"),))
    host.put(f"{DIRECTORY}/run-1/000000.json", msgspec.json.encode(entry))
    asked: list[tuple[object, str]] = []

    def taken(host: RootedHost, bdf: str) -> tuple[str, ...]:
        asked.append((host, bdf))
        return ("eth0 carries the default route",)

    monkeypatch.setattr(restore, "taken", taken)
    assert cli.main(["restore"]) == 1
    output = capsys.readouterr()
    assert asked == [(host, bdf)]
    assert "left “made VFs” alone: eth0 carries the default route" in output.err
    assert f"remove {DIRECTORY}/run-1/000000.json" in output.err


def test_what_a_boot_has_undone_is_told_and_not_done_again(
    host: RootedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.put(BOOT_ID, "this one\n")
    entry = Entry("made VFs", (UndoCommand(("sh", "-c", "fails")),), boot="the one before")
    host.put(f"{DIRECTORY}/run-1/000000.json", msgspec.json.encode(entry))
    assert cli.main(["restore"]) == 0
    assert capsys.readouterr().out == "localhost: a boot has undone it: made VFs\n"
    assert cli.main(["restore"]) == 0
    assert capsys.readouterr().out == "localhost: nothing to restore\n"


def test_what_still_runs_is_ended_before_anything_else(
    host: RootedHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: RootedHost) -> tuple[str, ...]:
        assert capsys.readouterr().out == ""
        return ("timeout", "ip", "timeout")

    crashed(host, "run-1", "one")
    monkeypatch.setattr(restore, "end_orphans", end)
    message = "localhost: ended what a run that was killed had under way: ip, timeout\n"
    for undone in ("localhost: undone: change one\n", ""):
        assert cli.main(["restore"]) == 0
        assert capsys.readouterr().out == message + undone


@pytest.mark.usefixtures("host")
def test_an_inventory_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "x", "--inventory", "nowhere.toml"]) == 2
    assert "cannot read nowhere.toml" in capsys.readouterr().err


def test_a_run_that_is_said_to_be_gone_loses_its_connection_first(
    host: RootedHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed(host, "run-1", "one")
    fenced: list[str] = []
    monkeypatch.setattr(restore, "fence", lambda _, run: fenced.append(run))
    assert cli.main(["restore", "--gone", "run-1"]) == 0
    assert fenced == ["run-1"]
    assert capsys.readouterr().out == (
        "localhost: ended the connection of run run-1\nlocalhost: undone: change one\n"
    )
