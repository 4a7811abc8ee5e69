"""Initial root file systems: the archive format, the closures, and a real tool's opinion."""

from __future__ import annotations

import stat
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import LabError
from harness.guest.image import cpio, elf, initramfs
from harness.guest.image.modules import KernelTree, aliases_of, module_name, parse_index
from harness.hosts.local import LocalHost
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED

name = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)
parts = name.filter(lambda part: part not in (".", "..", cpio.TRAILER))
path = st.lists(parts, min_size=1, max_size=4)
contents = st.dictionaries(path.map("/".join), st.binary(max_size=40), max_size=8)


def unpack(archive: bytes) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Members in their order as (name, 13 fields, data), read as buffer-format.rst says."""
    members, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070701" and at % 4 == 0
        fields = tuple(int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13))
        size, length = fields[6], fields[11]
        start = (at + 110 + length + 3) // 4 * 4
        label = archive[at + 110 : at + 110 + length]
        assert label[-1] == 0
        members.append((label[:-1].decode(), fields, archive[start : start + size]))
        at = (start + size + 3) // 4 * 4
        if label == b"TRAILER!!!\0":
            assert at == len(archive)
            return members


@given(contents)
def test_an_archive_holds_what_was_packed(files: dict[str, bytes]) -> None:
    entries = [cpio.file(path, data) for path, data in files.items()]
    try:
        archive = cpio.pack(entries)
    except ValueError:
        assert any(f"{a}/" in b for a in files for b in files)  # a file below a file
        return
    members = unpack(archive)
    names = [member[0] for member in members[:-1]]
    assert {name: data for name, fields, data in members[:-1] if stat.S_ISREG(fields[1])} == files
    for name in names:  # the kernel makes no parents by itself
        above = name.rpartition("/")[0]
        assert not above or names.index(above) < names.index(name)
    assert cpio.pack(reversed(entries)) == archive
    assert all(fields[5] == 0 for _, fields, _ in members)


def test_types_permissions_and_devices() -> None:
    entries = (
        cpio.symlink("bin/sh", "busybox"),
        cpio.character_device("dev/console", 5, 1),
        cpio.file("init", b"#!/bin/sh\n", 0o755),
    )
    members = {name: (fields, data) for name, fields, data in unpack(cpio.pack(entries))}
    assert members["bin/sh"][1] == b"busybox" and stat.S_ISLNK(members["bin/sh"][0][1])
    assert members["dev/console"][0][9:11] == (5, 1)
    assert stat.S_ISCHR(members["dev/console"][0][1])
    assert members["init"][0][1] == stat.S_IFREG | 0o755
    assert members["dev"][0][1] == stat.S_IFDIR | 0o755 and members["dev"][0][4] == 2


@pytest.mark.parametrize("bad", ["/abs", "../up", "a/../b", "", ".", "a//b", "TRAILER!!!", "a\0b"])
def test_paths_that_no_archive_can_hold(bad: str) -> None:
    with pytest.raises(ValueError):
        cpio.file(bad, b"")


def test_contradicting_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="two different"):
        cpio.pack((cpio.file("a", b"1"), cpio.file("a", b"2")))
    with pytest.raises(ValueError, match="below"):
        cpio.pack((cpio.file("a", b"1"), cpio.file("a/b", b"2")))


def test_modules_come_after_what_they_depend_on() -> None:
    index = parse_index((DATA / "modules.dep").read_text(), (DATA / "modules.builtin").read_text())
    assert index.closure(["virtio-net"]) == ("failover", "net_failover", "virtio_net")
    assert index.closure(["igb", "igbvf"]) == ("i2c_algo_bit", "dca", "igb", "igbvf")
    assert index.closure(["virtio_console", "8139too"]) == ("mii", "8139too")
    with pytest.raises(LabError, match="nosuch"):
        index.closure(["nosuch"])


def test_module_names_are_spelled_as_the_kernel_does() -> None:
    assert module_name("kernel/drivers/i2c/algos/i2c-algo-bit.ko.xz") == "i2c_algo_bit"
    assert module_name("virtio-net") == "virtio_net"


def test_only_the_aliases_of_the_wanted_modules_remain() -> None:
    text = aliases_of((DATA / "modules.alias").read_text(), ["igbvf", "virtio_net"])
    assert text.splitlines() == [
        "alias pci:v00008086d00001520sv*sd*bc*sc*i* igbvf",
        "alias pci:v00008086d000010CAsv*sd*bc*sc*i* igbvf",
        "alias virtio:d00000001v* virtio_net",
    ]


def test_elf_needs_agree_with_the_loader() -> None:
    program = Path("/bin/ls")
    listed = LocalHost().run(("ldd", str(program))).text
    needed = elf.needs(program.read_bytes())
    assert needed.interpreter in listed
    assert needed.libraries and all(library in listed for library in needed.libraries)


@given(st.binary(max_size=200), st.integers(0, 4096))
def test_broken_elf_files_are_a_value_error(noise: bytes, cut: int) -> None:
    with pytest.raises(ValueError):
        elf.needs(noise)
    header = Path(sys.executable).resolve().read_bytes()[:cut]
    try:
        elf.needs(header)
    except ValueError as error:
        assert not isinstance(error, struct.error)
        return
    assert cut > 64


def test_links_are_followed_inside_the_tree(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/real").write_text("inside")
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/absolute").symlink_to("/bin/real")
    (tmp_path / "usr/bin/upward").symlink_to("../../../../usr/bin/real")
    assert initramfs.read(tmp_path, "/bin/absolute") == b"inside"
    assert initramfs.read(tmp_path, "bin/upward") == b"inside"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(LabError, match="too many"):
        initramfs.read(tmp_path, "loop")
    with pytest.raises(LabError, match="no-such"):
        initramfs.read(tmp_path, "usr/no-such")


def test_a_packed_tree_runs_and_lists(debian_root: Path, tmp_path: Path) -> None:
    kernel = KernelTree.find(debian_root)
    archive = cpio.pack(
        (
            *initramfs.skeleton(),
            *initramfs.busybox(debian_root, ("sh", "cat")),
            *initramfs.programs(debian_root, ("sbin/ethtool",)),
            *initramfs.modules(kernel, ("igbvf", "virtio_net", "virtio_console")),
        )
    )
    busybox = str(debian_root / "usr/bin/busybox")
    listing = LocalHost().run((busybox, "cpio", "-t"), stdin=archive).text.split()
    assert {"init", "lib", "usr/sbin/ethtool", "usr/bin/cat"} - set(listing) == {"init"}
    LocalHost().run((busybox, "sh", "-c", f'cd "$1" && {busybox} cpio -idm', "sh", str(tmp_path)),
                    stdin=archive)  # fmt: skip
    loader = tmp_path / "usr/lib64/ld-linux-x86-64.so.2"
    libraries = tmp_path / "usr/lib/x86_64-linux-gnu"
    run = (str(loader), "--inhibit-cache", "--library-path", str(libraries))
    output = LocalHost().run((*run, str(tmp_path / "usr/sbin/ethtool"), "--version")).text
    assert output.startswith("ethtool version")
    dep = (tmp_path / "usr/lib/modules" / kernel.release / "modules.dep").read_text()
    assert "virtio_net.ko: net_failover.ko failover.ko\n" in dep
    module = (tmp_path / "usr/lib/modules" / kernel.release / "igbvf.ko").read_bytes()
    assert elf.is_elf(module)
