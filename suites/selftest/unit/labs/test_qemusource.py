"""QEMU from its source: what is asked of mmdebstrap, of the shell and of the compiler.

The build itself takes minutes; `nicproof lab build --qemu source` is its test.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from harness.core.errors import LabError
from harness.hosts.local import LocalHost
from harness.labs.nested import debian, qemusource, vm
from harness.labs.nested.accel import VIRTUAL
from harness.labs.nested.image import LabImage
from harness.labs.nested.progress import shown
from harness.labs.nested.qemusource import Source, bootstrap_argv, compile_argv, compiled, source_of
from harness.runs.suite import ROOT

VERSION = "1:10.0.13+ds-0+deb13u1"
MIRROR = "http://mirror.invalid/debian"
SOURCE = Source("trixie", MIRROR, VERSION)


@pytest.mark.parametrize("version", [VERSION, f"{VERSION}+b2"])
def test_the_source_is_that_of_the_trees_qemu(version: str) -> None:
    packages = f"qemu-system-common {version} amd64\nqemu-system-x86 {version} amd64\n"
    assert source_of(packages, "trixie", MIRROR) == SOURCE
    with pytest.raises(LabError, match="no package qemu-system-x86"):
        source_of(f"qemu-utils {version} amd64\n", "trixie", MIRROR)


def test_another_version_or_suite_is_another_build() -> None:
    others = (Source("trixie", MIRROR, "1:10.0.14+ds-1"), Source("forky", MIRROR, VERSION))
    assert len({SOURCE.key, *(other.key for other in others)}) == 3
    # From where it was fetched does not matter.
    assert Source("trixie", "http://other.invalid/", VERSION).key == SOURCE.key


def test_the_tree_gets_the_source_package_too() -> None:
    packages = debian.Packages("trixie", MIRROR, qemusource.PACKAGES)
    argv = bootstrap_argv(packages, VERSION, Path("/cache/tree"), Path("/cache/log"))
    (hook,) = (word for word in argv if word.startswith("--extract-hook="))
    assert hook.endswith(f"qemu={VERSION}")
    source = f"deb-src {MIRROR} trixie main"
    assert argv[-4:] == ("trixie", "/cache/tree", MIRROR, source)
    assert "--mode=chrootless" in argv and "--variant=extract" in argv


def test_every_device_of_the_lab_is_compiled() -> None:
    """By the names that QEMU's Kconfig has for them."""
    symbols = {
        "intel-iommu": "VTD",
        "virtio-blk-pci": "VIRTIO_BLK",
        "virtio-net-pci": "VIRTIO_NET",
        "pcie-root-port": "PCIE_PORT",
        "igb": "IGB_PCI_EXPRESS",
    }
    argv = vm.LabMachine(LabImage(Path("/cache/images/0")), VIRTUAL).argv()
    pairs = pairwise(argv)
    devices = {value.partition(",")[0] for option, value in pairs if option == "-device"}
    assert devices == set(symbols)
    for symbol in symbols.values():
        assert f"CONFIG_{symbol}=y\n" in (qemusource.RECIPE / "nicproof.mak").read_text()


def test_the_compiler_is_confined_to_the_tree() -> None:
    argv = compile_argv(Path("/cache/a tree"), Path("/cache/log"))
    assert argv[:2] == ("unshare", "--mount")
    assert argv[-2:] == ("/cache/a tree", "/cache/log")
    recipe = [(qemusource.RECIPE / name).read_text() for name in ("build.sh", "cc.sh")]
    for text in (qemusource.ENTER, *recipe, qemusource.fetch_hook(VERSION)):
        LocalHost().run(("sh", "-n", "-c", text))  # it is a shell's language


def compile_with(unshare: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's step with another `unshare`, a script that gets the log as $log."""
    tool = tmp_path / "unshare"
    tool.write_text(f"#!/bin/sh\nlog={tmp_path}/log\n{unshare}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "log").touch()
    with shown(qemusource.SHARES, False) as steps:
        qemusource._compile(tmp_path, tmp_path / "log", steps)


def test_a_machine_without_namespaces_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1"
    with pytest.raises(LabError, match=r"not permitted\n.*userns"):
        compile_with(refused, tmp_path, monkeypatch)


def test_a_source_that_does_not_build_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "echo '1 out of 1 hunk FAILED' >>$log; exit 1"
    with pytest.raises(LabError, match=r"does not build(.|\n)*hunk FAILED(.|\n)*its patch"):
        compile_with(broken, tmp_path, monkeypatch)
    compile_with("echo '[9/9] Linking' >>$log", tmp_path, monkeypatch)


def test_progress_is_what_ninja_tells() -> None:
    log = (
        "ninja: Entering directory\n[1/1327] Generating config-host.h with a custom command\n"
        "[664/1327] Compiling C object libqemuutil.a.p/util_yank.c.o\nwarning: [9/9] no step\n"
    )
    assert compiled(log) == pytest.approx(664 / 1327)
    assert compiled("Build type: native build\n") == 0.0


LINES = {
    "0001": [("2", "0", "target/i386/tcg/system/svm_helper.c")],
    "0002": [
        ("1", "1", "accel/tcg/tcg-accel-ops.c"),
        ("1", "1", "hw/core/cpu-common.c"),
        ("2", "2", "target/i386/tcg/system/svm_helper.c"),
    ],
    "0003": [
        ("66", "0", "accel/tcg/icount-common.c"),
        ("1", "0", "accel/tcg/tcg-accel-ops-icount.c"),
        ("135", "1", "accel/tcg/tcg-accel-ops-rr.c"),
        ("3", "0", "accel/tcg/tcg-accel-ops-rr.h"),
        ("6", "0", "include/hw/core/cpu.h"),
        ("15", "0", "include/system/cpu-timers.h"),
        ("12", "3", "qemu-options.hx"),
        ("16", "0", "system/cpu-timers.c"),
        ("3", "0", "system/vl.c"),
        ("17", "0", "target/i386/tcg/misc_helper.c"),
    ],
    "0004": [
        ("3", "2", "target/i386/cpu.c"),
        ("1", "1", "target/i386/tcg/misc_helper.c"),
        ("9", "0", "target/i386/tcg/system/misc_helper.c"),
    ],
    "0005": [
        ("6", "3", "accel/tcg/icount-common.c"),
        ("4", "0", "include/system/cpu-timers.h"),
        ("7", "3", "qemu-options.hx"),
        ("3", "0", "system/vl.c"),
        ("5", "0", "target/i386/tcg/system/svm_helper.c"),
    ],
}
"""Of each patch: lines that come, lines that go, file."""


def test_the_patches_lie_where_upstream_looks_for_them() -> None:
    published = ROOT / "docs/upstream"
    assert [patch.name[:4] for patch in qemusource.PATCHES] == list(LINES)
    for patch in qemusource.PATCHES:
        assert (published / patch.name).read_bytes() == patch.read_bytes()


@pytest.mark.skipif(shutil.which("git") is None, reason="git")
@pytest.mark.parametrize("patch", qemusource.PATCHES, ids=lambda patch: patch.name[:4])
def test_a_patch_is_whole(patch: Path) -> None:
    output = LocalHost().run(("git", "apply", "--numstat", str(patch))).text
    assert [tuple(line.split()) for line in output.splitlines()] == LINES[patch.name[:4]]


@pytest.mark.parametrize(
    ("source", "optimised"),
    [
        ("../target/i386/tcg/system/svm_helper.c", True),
        ("../accel/tcg/tcg-accel-ops-rr.c", True),
        ("../hw/net/igb_core.c", True),
        ("../fpu/softfloat.c", False),
        ("../qapi/qobject-input-visitor.c", False),
        ("libqemuutil.a.p/meson-generated_.._trace_trace-hw_net.c", False),
    ],
)
def test_only_what_emulates_is_optimised(source: str, optimised: bool, tmp_path: Path) -> None:
    """gcc heeds the last of several levels."""
    gcc = tmp_path / "gcc"
    gcc.write_text('#!/bin/sh\necho "$@"\n')
    gcc.chmod(0o755)
    host = LocalHost(env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    compiler = ("sh", str(qemusource.RECIPE / "cc.sh"))
    words = host.run((*compiler, "-O2", "-o", "x.o", "-c", source)).text.split()
    levels = [word for word in words if word.startswith("-O")]
    assert words[:5] == ["-O2", "-o", "x.o", "-c", source]
    assert (levels[-1] == "-O2") == optimised


def test_the_header_is_compiled_with_the_flags_of_a_file() -> None:
    """All but those for its own output and dependencies."""
    spec = importlib.util.spec_from_file_location("recipe", qemusource.RECIPE / "precompile.py")
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    command = "/build/cc.sh -m64 -Iqapi -O2 -MD -MQ x.o -MF x.o.d -o x.o -c ../dump/dump.c"
    assert recipe.argv_of(command, Path("/osdep.h"), Path("/osdep.h.gch/dump.gch")) == (
        *("/build/cc.sh", "-m64", "-Iqapi", "-O2"),
        *("-o", "/osdep.h.gch/dump.gch", "-x", "c-header", "/osdep.h"),
    )
