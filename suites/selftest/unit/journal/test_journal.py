"""The undo log on real files of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.journal.journal import (
    Entry,
    Journal,
    Undo,
    UndoCommand,
    UndoWrite,
    boot_of,
    left_over,
    restore,
)
from suites.selftest.support.writers import on_small_disk


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(LocalHost(), "run-1", root=str(tmp_path / "journal"))


def entries(journal: Journal) -> list[Path]:
    return sorted(Path(journal.directory).glob("*.json"))


def test_a_change_is_written_down_before_it_is_made_and_undone_after(
    journal: Journal, tmp_path: Path
) -> None:
    knob = tmp_path / "knob"
    knob.write_text("prior")
    with journal.change("turned the knob", [UndoWrite(str(knob), "prior")]):
        assert [msgspec.json.decode(path.read_bytes())["what"] for path in entries(journal)] == [
            "turned the knob"
        ]
        knob.write_text("new")
    assert knob.read_text() == "prior"
    assert entries(journal) == []
    journal.close()
    assert not Path(journal.directory).exists()


def test_an_error_inside_is_undone_too_and_passes_through(journal: Journal, tmp_path: Path) -> None:
    knob = tmp_path / "knob"
    knob.write_text("prior")
    with (
        pytest.raises(ZeroDivisionError),
        journal.change("turned the knob", [UndoWrite(str(knob), "prior")]),
    ):
        knob.write_text("new")
        raise ZeroDivisionError
    assert knob.read_text() == "prior"


def test_restore_undoes_the_newest_first_after_a_crash(journal: Journal, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in (1, 2):
        crash(
            journal,
            number,
            [UndoCommand(("sh", "-c", 'echo "$1" >> "$2"', "sh", str(number), str(log)))],
        )
    done = restore(LocalHost(), root=str(tmp_path / "journal"))
    assert done == ("change 2", "change 1")
    assert log.read_text() == "2\n1\n"
    assert restore(LocalHost(), root=str(tmp_path / "journal")) == ()


def test_what_cannot_be_undone_stays_written_down_and_is_named(
    journal: Journal, tmp_path: Path
) -> None:
    crash(journal, 1, [UndoCommand(("false",))])
    crash(journal, 2, [UndoCommand(("true",))])
    with pytest.raises(LabError, match="could not undo “change 1”"):
        restore(LocalHost(), root=str(tmp_path / "journal"))
    assert [path.name for path in entries(journal)] == ["000001.json"]


def test_an_entry_half_written_belongs_to_no_change(journal: Journal, tmp_path: Path) -> None:
    crash(journal, 1, [UndoCommand(("false",))])
    (path,) = entries(journal)
    path.write_bytes(path.read_bytes()[:10])
    assert restore(LocalHost(), root=str(tmp_path / "journal")) == ()
    assert entries(journal) == []


NO_ROOM = """
import os, sys
from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal

disk = sys.argv[1]
journal = Journal(LocalHost(), "run-1", root=f"{disk}/journal")
with open(f"{disk}/fill", "wb", buffering=0) as fill:
    try:
        while fill.write(bytes(4096)):
            pass
    except OSError:
        pass
try:
    with journal.change("turned the knob", ()):
        print("it was turned")
except LabError as error:
    print(error)
print(os.listdir(journal.directory))
journal.close()
print(os.listdir(f"{disk}/journal"))
"""


def test_nothing_is_changed_that_there_is_no_room_to_write_down(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    messages = on_small_disk(NO_ROOM, disk, 16).splitlines()
    refused = f"localhost: cannot write {disk}/journal/run-1/000000.json: No space left on device"
    assert messages == [refused, "[]", "[]"]


def test_runs_that_are_alive_see_to_their_own(tmp_path: Path) -> None:
    """Even to an entry that is only half written yet."""
    root = str(tmp_path / "journal")
    dead, living = (Journal(LocalHost(), run, root=root) for run in ("dead", "living"))
    for journal in (dead, living):
        crash(journal, 1, [UndoCommand(("true",))])
    half = Path(living.directory) / "000002.json"
    half.write_bytes(b'{"what"')
    assert left_over(LocalHost(), ("living",), root) == ("dead",)
    assert restore(LocalHost(), root, alive=("living",)) == ("change 1",)
    assert not Path(dead.directory).exists()
    assert [path.name for path in entries(living)] == ["000001.json", "000002.json"]
    assert left_over(LocalHost(), ("living",), root) == ()
    assert left_over(LocalHost(), (), root) == ("living",)


def test_what_is_to_stay_is_no_left_over_and_is_undone_last(
    journal: Journal, tmp_path: Path
) -> None:
    root = str(tmp_path / "journal")
    Journal(LocalHost(), "zz-earlier", root).keep("loaded a module", [UndoCommand(("true",))])
    assert left_over(LocalHost(), (), root) == ()
    crash(journal, 1, [UndoCommand(("true",))])
    assert left_over(LocalHost(), (), root) == ("run-1",)
    messages: list[str] = []
    assert restore(LocalHost(), root, alive=("other",), tell=messages.append) == ("change 1",)
    assert restore(LocalHost(), root, tell=messages.append) == ("loaded a module",)
    assert messages == ["undone: change 1", "undone: loaded a module"]


def test_what_is_to_stay_is_undone_after_what_was_made_with_it(
    journal: Journal, tmp_path: Path
) -> None:
    root = str(tmp_path / "journal")
    Journal(LocalHost(), "zz-later", root).keep("loaded a module", [UndoCommand(("true",))])
    crash(journal, 1, [UndoCommand(("true",))])
    assert restore(LocalHost(), root) == ("change 1", "loaded a module")


def test_an_undo_whose_object_is_gone_is_no_error(journal: Journal, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with journal.change(
        "made what went by itself", [UndoCommand(("false",), when=gone), UndoWrite(gone, "x")]
    ):
        pass
    assert not Path(gone).exists()


def test_what_belongs_to_an_earlier_boot_is_dropped_and_told(
    journal: Journal, tmp_path: Path
) -> None:
    """Replayed, it would strike at whoever has the port since the boot."""
    log, root = tmp_path / "log", str(tmp_path / "journal")
    note = 'echo "$1" >> "$2"'
    for number, boot in ((1, "an earlier one"), (2, boot_of(LocalHost())), (3, "")):
        undo = UndoCommand(("sh", "-c", note, "sh", str(number), str(log)))
        crash(journal, number, [undo], boot=boot)
    assert left_over(LocalHost(), (), root) == ("run-1",)
    messages: list[str] = []
    assert restore(LocalHost(), root, tell=messages.append) == ("change 3", "change 2")
    assert messages == ["undone: change 3", "undone: change 2", "a boot has undone it: change 1"]
    assert log.read_text() == "3\n2\n"
    assert entries(journal) == []


def test_a_run_is_not_refused_for_what_a_boot_has_undone(journal: Journal, tmp_path: Path) -> None:
    crash(journal, 1, [UndoCommand(("false",))], boot="an earlier one")
    assert left_over(LocalHost(), (), str(tmp_path / "journal")) == ()


def test_a_change_is_of_the_boot_that_it_is_made_in(journal: Journal) -> None:
    with journal.change("turned the knob", ()):
        (path,) = entries(journal)
        assert msgspec.json.decode(path.read_bytes())["boot"] == boot_of(LocalHost()) != ""


def test_nothing_is_done_to_a_function_that_somebody_has_by_now(
    journal: Journal, tmp_path: Path
) -> None:
    root, pf, vf = str(tmp_path / "journal"), "0000:01:00.0", "0000:01:10.1"
    knob = tmp_path / "knob"
    knob.write_text("as somebody wants it")
    crash(
        journal, 1, [UndoWrite(str(knob), "prior"), UndoWrite(f"/sys/bus/pci/devices/{pf}/x", "0")]
    )
    crash(journal, 2, [UndoCommand(("true", f"/sys/bus/pci/devices/{vf}/net"))])
    crash(journal, 3, [UndoCommand(("true",))])
    asked: list[str] = []

    def guard(bdf: str) -> tuple[str, ...]:
        asked.append(bdf)
        return ("it carries the default route",) if bdf == pf else ()

    messages: list[str] = []
    with pytest.raises(LabError, match="left “change 1” alone: it carries the default route"):
        restore(LocalHost(), root, guard=guard, tell=messages.append)
    assert asked == [vf, pf]
    assert messages == ["undone: change 3", "undone: change 2"]
    assert knob.read_text() == "as somebody wants it"
    assert [path.name for path in entries(journal)] == ["000001.json"]


def crash(journal: Journal, number: int, undo: Sequence[Undo], boot: str = "") -> None:
    """Leave an entry behind as a run does that is killed inside its change."""
    directory = Path(journal.directory)
    directory.mkdir(parents=True, exist_ok=True)
    entry = Entry(what=f"change {number}", undo=tuple(undo), boot=boot)
    (directory / f"{number:06d}.json").write_bytes(msgspec.json.encode(entry))
