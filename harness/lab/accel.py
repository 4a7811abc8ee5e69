"""Which accelerator runs L1: hardware KVM if it really boots a guest, else TCG."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.lab.cache import cache_root
from harness.lab.probe import boots
from harness.lab.toolchain import Toolchain
from harness.units import Fidelity


@dataclass(frozen=True)
class Accelerator:
    """How QEMU is told to run L1's CPUs."""

    name: Literal["kvm", "tcg"]

    @property
    def argv(self) -> tuple[str, ...]:
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        # TCG runs "rep movsb" byte by byte, so kernels must not be told that it is fast: an L2
        # guest boots in two thirds of the time without these two flags.
        return ("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max,-erms,-fsrm")

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
        answers.kvm[key] = boots(toolchain, KVM.argv)
        _save(answers)
    return KVM if answers.kvm[key] else TCG


def known_answer() -> bool | None:
    """What the last probe on this machine and kernel found: does KVM boot a guest? None: no
    probe was made yet."""
    found = [
        answer for key, answer in _load().kvm.items() if key.startswith(f"{machine_identity()}, ")
    ]
    return found[-1] if found else None


def machine_identity() -> str:
    """Kernel release and CPU model: what decides whether KVM works."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {platform.release()}, {found[1] if found else platform.machine()}"


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
