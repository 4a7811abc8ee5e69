"""The nested lab's pure parts, its cache and its locks; nothing here boots anything but one guest
that prints a line."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.core.errors import LabError, MissingCapability
from harness.hosts.local import LocalHost
from harness.inventory.reading import parse
from harness.labs.nested import accel, cache, debian, probe, selfcheck, snapshot, vm
from harness.labs.nested.image import LabImage, Manifest
from harness.labs.nested.keeper import LabState
from harness.labs.nested.login import ssh_options
from harness.labs.nested.machine import Keys
from harness.labs.nested.progress import shown
from harness.labs.nested.snapshot import Snapshot, SnapshotFailed, snapshot_key
from harness.labs.nested.toolchain import Toolchain, parse_version
from harness.runs.suite import ROOT
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "lab"

MACHINE = vm.LabMachine(LabImage(Path("/cache/images/0123")), accel.TCG)


def test_the_machine_is_the_one_that_was_proven() -> None:
    assert "\n".join(MACHINE.argv()) + "\n" == (DATA / "l1-argv.txt").read_text()


def test_with_kvm_the_guest_gets_the_cpu_of_the_host() -> None:
    argv = replace(MACHINE, accel=accel.KVM).argv()
    assert argv[argv.index("-accel") :][:4] == ("-accel", "kvm", "-cpu", "host")
    assert not any("tcg" in word for word in argv)


def test_a_run_adds_what_is_its_own() -> None:
    argv = vm.run_argv(MACHINE, Path("/s/a,b"), Path("/l/serial"), incoming=False)
    assert argv[:3] == ("setpriv", "--pdeathsig", "KILL")
    assert any("path=/s/a,,b," in word for word in argv), "a comma ends a value for QEMU"
    assert "-incoming" not in argv
    restored = vm.run_argv(MACHINE, Path("/s/a,b"), Path("/l/serial"), incoming=True)
    assert restored == (*argv, "-incoming", "defer")


def test_the_forwarded_port_is_the_listening_one() -> None:
    text = (
        "Hub -1 (mgmt):\r\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
        "  TCP[ESTABLISHED]   22       127.0.0.1 40001       10.0.2.15    22     0     0\r\n"
        "  TCP[HOST_FORWARD]  10       127.0.0.1 46257       10.0.2.15    22     0     0\r\n"
    )
    assert vm.forwarded_port(text) == 46257
    with pytest.raises(LabError, match="forwards no port"):
        vm.forwarded_port(text.splitlines()[0])


def test_qemu_tells_its_version() -> None:
    text = "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright (c) ...\n"
    assert parse_version(text) == "10.0.13"
    with pytest.raises(LabError):
        parse_version("Segmentation fault")


@pytest.mark.parametrize(
    ("version", "broken"),
    [
        ("9.2.4", False),
        ("10.0.0", True),
        ("10.0.2", True),
        ("10.0.3", True),
        ("10.0.4", False),
        ("10.0.13", False),
        ("11.1.3", False),
        ("", False),
    ],
)
def test_the_broken_range_of_qemu(version: str, broken: bool) -> None:
    assert selfcheck.broken_version(version) is broken
    message = selfcheck.dead("lab", "0000:01:00.0", version, "no carrier")
    assert ("known for igb VFs" in message) is broken
    assert version in message


# Packages


def test_versions_come_from_the_log() -> None:
    found = debian.versions((DATA / "mmdebstrap-unpack.log").read_text())
    assert "qemu-system-x86 1:10.0.13+ds-0+deb13u1 amd64\n" in found
    assert found.splitlines() == sorted(found.splitlines())
    assert not any(line.startswith("Packages") for line in found.splitlines())


def test_progress_follows_the_log() -> None:
    download = (DATA / "mmdebstrap-download.log").read_text()
    assert debian.progress("", 0) == (debian.INDEX, 0.0)
    phase, share = debian.progress(download, 0)
    assert phase == debian.DOWNLOAD
    assert share == pytest.approx(6 / 187, abs=2 / 187)
    phase, share = debian.progress((DATA / "mmdebstrap-unpack.log").read_text(), 3)
    assert phase == debian.UNPACK
    assert 0 < share <= 1


def make_root(tmp_path: Path) -> None:
    with shown(dict.fromkeys((debian.INDEX, "finishing the tree"), 1.0), False) as steps:
        packages = debian.Packages("trixie", "http://mirror.invalid/debian", ("base-files",))
        debian.make_root(packages, tmp_path / "root", tmp_path / "log", steps)


def test_without_mmdebstrap_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingCapability, match=r"mmdebstrap(.|\n)*apt-get install") as raised:
        make_root(tmp_path)
    assert raised.value.capability == "mmdebstrap"


def test_a_failed_mmdebstrap_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "mmdebstrap"
    tool.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in --logfile=*) log=${word#*=};; esac; done\n'
        'echo "E: the mirror does not answer" >"$log"; exit 25\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LabError, match=r"status 25(.|\n)*does not answer(.|\n)*MIRROR"):
        make_root(tmp_path)
    assert (tmp_path / "log").exists()


# Keys


MANIFEST = Manifest(drivers=("igb",), mirror="http://deb.debian.org/debian", files="abc")


@pytest.mark.parametrize(
    "change",
    [
        {"layout": -1},
        {"suite": "sid"},
        {"packages": ("bash",)},
        {"drivers": ("igbvf",)},
        {"mirror": "http://elsewhere/"},
        {"files": "abd"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_image_key_covers_the_whole_manifest(change: dict[str, object]) -> None:
    every = {"layout", "suite", "packages", "drivers", "mirror", "files"}
    assert set(MANIFEST.__struct_fields__) == every
    assert MANIFEST.key == msgspec.structs.replace(MANIFEST).key
    assert MANIFEST.key != msgspec.structs.replace(MANIFEST, **change).key


STATE = ("image", "10.0.13", ("-m", "4096"), "Linux 6.12, a CPU")


@pytest.mark.parametrize(
    "other",
    [
        ("other", *STATE[1:]),
        (STATE[0], "10.0.14", *STATE[2:]),
        (*STATE[:2], ("-m", "2048"), STATE[3]),
        (*STATE[:2], ("-m 4096",), STATE[3]),
        (*STATE[:3], "Linux 6.13, a CPU"),
    ],
)
def test_no_state_of_another_machine_is_found(other: tuple[str, str, tuple[str, ...], str]) -> None:
    assert snapshot_key(*STATE) == snapshot_key(*STATE)
    assert snapshot_key(*STATE) != snapshot_key(*other)


# Cache


def test_what_was_built_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "key"
    with pytest.raises(RuntimeError), cache.building(target) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with cache.building(target) as partial:
        (partial / "file").touch()
        assert not target.exists()
    assert {path.name for path in tmp_path.rglob("*")} == {"key", "file", cache.CONTENTS}


def test_the_next_builder_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with cache.building(tmp_path / "old") as partial:
            (partial / "locked").mkdir(mode=0o500)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f"old.{pid}.partial"]
    with cache.building(tmp_path / "new"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


MAKER = """
import os, sys
from pathlib import Path
from harness.core import crash
from harness.runs import suite
from harness.hosts.local import LocalHost
from harness.labs.nested import accel, cache, image, keeper, snapshot
from harness.runs.asked import Asked

os.umask(int(sys.argv[1], 8))

def build(entry):
    (entry / "passwd").write_text("root")
    (entry / "etc").mkdir()
    child = 'mkdir "$1/tmp" && chmod 1777 "$1/tmp" && echo "#!" >"$1/script"'
    LocalHost().run(("sh", "-c", child, "sh", str(entry)))

cache.ensure(image.images() / "key", "an entry", build, print)
with cache.locked(snapshot.snapshots(), print), keeper._alone():
    accel._save(accel._Answers())
try:
    raise ValueError
except ValueError as error:
    print(crash.describe(error))
suite.suite_argv("comparison", Asked(), ())
assert os.umask(0) == int(sys.argv[1], 8), "it is the caller's"
"""
"""All that makes directories of the cache, as commands do."""


@pytest.mark.parametrize("umask", ["0", "002", "022", "077"])
def test_the_cache_is_its_users_own_by_any_umask(umask: str, tmp_path: Path) -> None:
    """And what is built is the same: it becomes somebody else's file system."""
    home = tmp_path / "home" / "cache"
    env = {"XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    there = ("env", "-C", str(tmp_path), sys.executable, "-c", MAKER, umask)
    LocalHost(env=env).run(there, timeout=120)
    modes = {path: path.lstat().st_mode & 0o7777 for path in (home.parent, *home.parent.rglob("*"))}
    entry = home / "nicproof" / "images" / "key"
    built = {path.name: mode for path, mode in modes.items() if entry in path.parents}
    assert built == {
        "passwd": 0o644,
        "etc": 0o755,
        "tmp": 0o1777,
        "script": 0o644,
        cache.CONTENTS: 0o644,
    }
    directories = {path: mode for path, mode in modes.items() if path.is_dir()}
    outside = {path: mode for path, mode in directories.items() if entry not in path.parents}
    assert {path.name for path in outside} == {
        *("home", "cache", "nicproof", "images", "key", "snapshots", "lab", "crashes")
    }
    assert set(outside.values()) == {0o700}


def test_a_cache_that_others_may_write_to_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is that was made by an umask of 0; what is above it is none of ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    images = tmp_path / "home" / "nicproof" / "images"
    images.mkdir(parents=True)
    made = (images, images.parent, images.parent.parent)
    for each in made:
        each.chmod(0o1777)
    with cache.locked(images, print):
        pass
    assert [each.stat().st_mode & 0o7777 for each in made] == [0o1755, 0o1755, 0o1777]


HOLDER = """
import sys, time
from pathlib import Path
from harness.labs.nested.cache import locked
with locked(Path(sys.argv[1]), print):
    Path(sys.argv[1], "held").touch()
    time.sleep(60)
"""


def test_two_builders_wait_for_one_another_and_say_so(tmp_path: Path) -> None:
    messages: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with cache.locked(tmp_path, messages.append):
            entered.set()

    with LocalHost().spawn((sys.executable, "-c", HOLDER, str(tmp_path))) as holder:
        until((tmp_path / "held").exists)
        thread = threading.Thread(target=second)
        thread.start()
        until(lambda: bool(messages))
        assert "another process is building" in messages[0]
        assert not entered.wait(0.3)
        os.kill(holder.pid, signal.SIGKILL)  # the lock does not outlive its holder
        assert entered.wait(5)
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Snapshots


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Snapshot(snapshot.snapshots() / "0123.state")


def test_a_failed_first_start_leaves_no_state(kept: Snapshot) -> None:
    def make(_save: object) -> None:
        kept.path.with_suffix(cache.PARTIAL).write_bytes(b"half")
        raise LabError("no carrier")

    with pytest.raises(LabError, match="no carrier"):
        snapshot.ensure(kept, make, print)
    assert [path.name for path in kept.path.parent.iterdir()] == [".lock"]


def test_a_state_is_made_once_and_old_halves_are_swept(kept: Snapshot) -> None:
    made: list[int] = []

    def make(_save: object) -> None:
        made.append(1)
        kept.path.with_suffix(cache.PARTIAL).write_bytes(b"state")

    kept.path.parent.mkdir(parents=True)
    (kept.path.parent / f"4567{cache.PARTIAL}").touch()
    for _ in range(2):
        snapshot.ensure(kept, make, print)
    assert made == [1]
    assert sorted(path.name for path in kept.path.parent.iterdir()) == [".lock", "0123.state"]


def test_a_refused_state_is_a_failure_of_its_own_kind() -> None:
    assert issubclass(SnapshotFailed, LabError)


# The accelerator


def test_the_probe_boots_a_guest_under_tcg(
    debian_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_LIMIT", 180)  # TCG on a busy machine; KVM needs a second
    assert probe.boots(Toolchain(debian_root), accel.TCG.argv)


def test_an_accelerator_that_boots_nothing_is_refused(
    debian_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_LIMIT", 0.3)  # too short for any boot
    assert not probe.boots(Toolchain(debian_root), accel.TCG.argv)


def test_the_answer_is_kept_per_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert accel.known_answer() is None
    answers = {"Linux 1.0, another CPU, QEMU 1.0.0": True}
    path = tmp_path / "nicproof" / "accelerators.json"
    path.parent.mkdir()
    path.write_bytes(msgspec.json.encode({"kvm": answers}))
    assert accel.known_answer() is None, "an answer of another kernel was taken"
    answers[f"{accel.machine_identity()}, QEMU 10.0.13"] = False
    path.write_bytes(msgspec.json.encode({"kvm": answers}))
    assert accel.known_answer() is False
    path.write_bytes(b"torn")
    assert accel.known_answer() is None


# The way in


def test_ssh_trusts_the_labs_own_key_only() -> None:
    options = ssh_options(Keys(Path("/keys")), 2222)
    assert options[:2] == ("-F", "/dev/null")
    for option in (
        "IdentitiesOnly=yes",
        'UserKnownHostsFile="/keys/known_hosts"',
        "StrictHostKeyChecking=yes",
    ):
        assert option in options


def up(ssh_port: int, image: str) -> LabState:
    return LabState(1, 2, ssh_port, "nested-tcg", "virtual-smp", 4, "10.0.13", image, "", 0.0)


def test_the_shell_takes_a_command_word_by_word() -> None:
    state = LabState(
        1, 2, 3, "nested-tcg", "virtual-smp", 4, "10.0.13", "/cache/images/0123", "", 0.0
    )
    assert state.ssh_argv(("sh", "-c", "echo 'a  b'"))[-1] == "sh -c 'echo '\"'\"'a  b'\"'\"''"
    assert "-t" in state.ssh_argv(terminal=True)
    assert "booted cold" in state.text()


def test_a_lab_that_is_up_tells_how_an_inventory_reaches_it(tmp_path: Path) -> None:
    state = LabState(
        1, 2, 2222, "nested-tcg", "virtual-smp", 4, "10.0.13", "/my cache/images/0123", "", 0.0
    )
    shown = state.text().partition("lab.toml  ")[2]
    assert shown.startswith("[host.l1]\n")
    (host,) = parse(shown, tmp_path / "lab.toml").hosts
    assert (host.address, host.user, host.ssh_port) == ("127.0.0.1", "root", 2222)
    assert host.identity == Path("/my cache/images/0123/keys/client")
    assert (host.ssh_config, host.known_hosts) == (Path("/dev/null"), tmp_path / "known_hosts")
