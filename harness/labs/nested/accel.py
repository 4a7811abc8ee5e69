"""What runs L1: hardware KVM if it really boots a guest, else TCG by one of three clocks."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from harness.core.units import Clock, Fidelity, is_virtual
from harness.core.xdg import cache_root, cached
from harness.labs.nested.probe import boots
from harness.labs.nested.toolchain import Toolchain
from harness.labs.shape import SMP_CPUS, LabShape

QUANTUM_NS = 5000
"""By how much one CPU's time may be ahead of another's, nanoseconds: a third of the shortest round
trip that a lab has. With 1000 a boot takes a third longer (docs/adr/0016)."""


@dataclass(frozen=True)
class Accelerator:
    """How QEMU is told to run L1's CPUs, and by which clock they live."""

    name: Literal["kvm", "tcg"]
    clock: Clock = "wall"
    cpus: int = 2
    exit_cost_ns: int = 0  # as in LabShape
    follows: bool = False  # as in LabShape

    @property
    def argv(self) -> tuple[str, ...]:
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        # One thread for all CPUs. With one for each (thread=multi) L1 hangs in its boot or dies
        # once in a while: a CPU runs code that another has just replaced (text_poke_bp_batch() in
        # arch/x86/kernel/alternative.c).
        # TCG runs "rep movsb" byte by byte, so kernels must not be told that it is fast: an L2
        # guest boots in two thirds of the time without these two flags.
        cpu = "max,-erms,-fsrm"
        if self.clock == "virtual-smp":
            cpu += ",+invtsc"  # true there, and Linux keeps the TSC as its clock
        argv = ("-accel", "tcg,thread=single,tb-size=1024", "-cpu", cpu)
        return (*argv, *self._icount()) if is_virtual(self.clock) else argv

    def _icount(self) -> tuple[str, ...]:
        """One nanosecond an instruction, none for devices.

        While no CPU has work the clock jumps to the next timer (sleep=off). With sleep=on it waits
        for the world's, whose noise then gets in wherever an interrupt is moderated: the median
        round trip of a VF took twice as long and varied six times as much. The price is a clock
        that runs ahead of the world's, 25 times as fast when idle, and never lets a core rest.
        """
        words = ["shift=0", f"sleep={'on' if self.follows else 'off'}", "align=off"]
        if self.clock == "virtual-smp":
            words.append(f"quantum={QUANTUM_NS}")
        if self.exit_cost_ns:
            words.append(f"world-switch={self.exit_cost_ns}")
        return ("-icount", ",".join(words), "-rtc", "clock=vm", "-seed", "1")

    @property
    def state(self) -> Accelerator:
        """The one whose kept states this one can take up: how a clock goes on is no part of it."""
        return replace(self, exit_cost_ns=0, follows=False)

    def shaped(self, shape: LabShape) -> Accelerator:
        """This one with what a shape says of CPUs, exits and the clock."""
        cpus = self.cpus if shape.cpus is None else shape.cpus
        return replace(self, cpus=cpus, exit_cost_ns=shape.exit_cost_ns, follows=shape.follows)

    @property
    def fidelity(self) -> Fidelity:
        return "nested-kvm" if self.name == "kvm" else "nested-tcg"


TCG = Accelerator("tcg")
VIRTUAL = Accelerator("tcg", "virtual", cpus=1)
SMP = Accelerator("tcg", "virtual-smp", SMP_CPUS)
KVM = Accelerator("kvm")


class _Answers(msgspec.Struct):
    """The probe's cache: what it found, for each machine and QEMU it was run on."""

    kvm: dict[str, bool] = {}


def unmended(qemu_version: str) -> str:
    """Why a lab cannot have the virtual clock."""
    return (
        f"the lab's QEMU {qemu_version} delivers some interrupts twice to a nested guest, "
        "which then hangs, and there is no mended one (docs/adr/0007)"
    )


def kvm_works(toolchain: Toolchain, qemu_version: str) -> bool:
    """Whether KVM boots a guest here; the first call for a kernel and QEMU probes it."""
    if not _opens_kvm():
        return False
    key = f"{machine_identity()}, QEMU {qemu_version}"
    answers = _load()
    if key not in answers.kvm:
        answers.kvm[key] = boots(toolchain, KVM.argv)
        _save(answers)
    return answers.kvm[key]


def known_answer() -> bool | None:
    """What the last probe on this machine and kernel found: does KVM boot a guest? None: no
    probe was made yet."""
    found = [
        answer for key, answer in _load().kvm.items() if key.startswith(f"{machine_identity()}, ")
    ]
    return found[-1] if found else None


def foreseen(shape: LabShape) -> Accelerator:
    """The one that a lab of this shape gets here, by what is known without building or probing."""
    if shape.may_use_kvm and _opens_kvm() and known_answer() is not False:
        return KVM.shaped(shape)
    return {"wall": TCG, "virtual": VIRTUAL}.get(shape.clock, SMP).shaped(shape)


def _opens_kvm() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def machine_identity() -> str:
    """Kernel release and CPU model: what decides whether KVM works."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {platform.release()}, {found[1] if found else platform.machine()}"


def _cache() -> Path:
    return cache_root() / "accelerators.json"


def _load() -> _Answers:
    try:
        return msgspec.json.decode(_cache().read_bytes(), type=_Answers)
    except (OSError, msgspec.DecodeError):  # absent, torn or not ours: probe again
        return _Answers()


def _save(answers: _Answers) -> None:
    """In a cache that cannot be written to nothing is kept, and the next one probes again."""
    temporary = _cache().with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        cached(cache_root())
        temporary.write_bytes(msgspec.json.encode(answers))
        temporary.rename(_cache())
