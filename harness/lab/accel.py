"""Which accelerator runs L1: hardware KVM if it really boots a guest, else TCG."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import DeadlineExpired
from harness.guest import cpio, initramfs
from harness.host.local import LocalHost
from harness.lab.cache import cache_root
from harness.lab.toolchain import Toolchain
from harness.units import Fidelity

PROBE_LIMIT = 20.0
"""Seconds that a working KVM may need for the tiny guest; TCG takes 3 s."""

GREETING = "nicproof: this accelerator boots"

INIT = f"""#!/bin/busybox sh
/bin/busybox echo '{GREETING}'
/bin/busybox poweroff -f
"""


@dataclass(frozen=True)
class Accelerator:
    """How QEMU is told to run L1's CPUs."""

    name: Literal["kvm", "tcg"]

    @property
    def argv(self) -> tuple[str, ...]:
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        return ("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max")

    @property
    def fidelity(self) -> Fidelity:
        return "nested-kvm" if self.name == "kvm" else "nested-tcg"


TCG = Accelerator("tcg")
KVM = Accelerator("kvm")


class _Answers(msgspec.Struct):
    """The probe's cache: what it found, for each machine and QEMU it was run on."""

    kvm: dict[str, bool] = {}


def choose(toolchain: Toolchain, qemu_version: str) -> Accelerator:
    """The accelerator for this machine; the first call for a kernel and QEMU probes KVM."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    key = f"{machine_identity()}, QEMU {qemu_version}"
    answers = _load()
    if key not in answers.kvm:
        answers.kvm[key] = boots(toolchain, KVM)
        _save(answers)
    return KVM if answers.kvm[key] else TCG


def known_answer() -> bool | None:
    """What the last probe on this machine and kernel found: does KVM boot a guest? None: no
    probe was made yet."""
    found = [
        answer for key, answer in _load().kvm.items() if key.startswith(f"{machine_identity()}, ")
    ]
    return found[-1] if found else None


def boots(toolchain: Toolchain, accelerator: Accelerator) -> bool:
    """Whether a stock kernel gets to its init within PROBE_LIMIT seconds.

    A /dev/kvm that opens and makes VMs may still fail in the first instructions of a real kernel
    (seen under other hypervisors), so nothing less than a boot tells.
    """
    with tempfile.TemporaryDirectory() as directory:
        initrd = Path(directory) / "initrd"
        initrd.write_bytes(_initrd(toolchain.root))
        try:
            result = LocalHost().run(
                probe_argv(toolchain, accelerator, initrd), timeout=PROBE_LIMIT, check=False
            )
        except DeadlineExpired:
            return False
    return GREETING.encode() in result.stdout


def probe_argv(toolchain: Toolchain, accelerator: Accelerator, initrd: Path) -> tuple[str, ...]:
    """A tiny guest whose console is QEMU's standard output."""
    return (
        *(*toolchain.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-M", "q35", *accelerator.argv, "-m", "256", "-serial", "stdio"),
        *("-kernel", str(toolchain.kernel), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 panic=-1 quiet"),
    )


def machine_identity() -> str:
    """Kernel release and CPU model: what decides whether KVM works."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {platform.release()}, {found[1] if found else platform.machine()}"


def _initrd(root: Path) -> bytes:
    return cpio.pack(
        (
            *initramfs.skeleton(),
            *initramfs.busybox(root, ()),
            cpio.file("init", INIT.encode(), 0o755),
        )
    )


def _cache() -> Path:
    return cache_root() / "accelerators.json"


def _load() -> _Answers:
    try:
        return msgspec.json.decode(_cache().read_bytes(), type=_Answers)
    except (FileNotFoundError, msgspec.DecodeError):  # absent or torn: probe again
        return _Answers()


def _save(answers: _Answers) -> None:
    _cache().parent.mkdir(parents=True, exist_ok=True)
    temporary = _cache().with_suffix(f".{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(answers))
    temporary.rename(_cache())
