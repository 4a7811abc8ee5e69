"""Exits per reason with their handling time, counted by the kernel itself through tracefs.

Two histogram triggers time every exit of the guest's vCPU threads, from kvm_exit to the next
kvm_entry of the same thread, and fire a synthetic event with reason and duration; a third one sums
that event up by reason (Documentation/trace/histogram.rst). No reader runs and nothing is written
to a trace buffer. It lives in a tracing instance of its own, so other users of tracefs are not
disturbed.

The timing triggers are put in at the window's opening and taken out at its closing: a trigger
that defines variables cannot be cleared or paused (6.12 answers EINVAL), and one left in
would pair the window's first entry with an exit from long before. So those exits count that ended
inside the window; the first may have begun while the triggers went in, milliseconds earlier.
Outside of the window the guest runs untraced.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from harness.errors import CommandFailed, HarnessError, LabError, MissingCapability
from harness.exits.model import Isa, Reasons, exit_counts, parse_reasons
from harness.host.base import Host
from harness.measure.window import Probe, Reading, WindowResult, Write

TRACEFS = "/sys/kernel/tracing"
FORMAT = f"{TRACEFS}/events/kvm/kvm_exit/format"
EVENTS = f"{TRACEFS}/synthetic_events"
INSTANCES = f"{TRACEFS}/instances"
PREFIX = "nicproof_"

NEEDED = {
    f"{TRACEFS}/README": ("tracefs", "mount -t tracefs nodev /sys/kernel/tracing, as root"),
    FORMAT: ("kvm trace events", "modprobe kvm_amd or kvm_intel"),
    f"{TRACEFS}/events/kvm/kvm_exit/hist": ("CONFIG_HIST_TRIGGERS", "use a kernel that has it"),
    EVENTS: ("CONFIG_SYNTH_EVENTS", "use a kernel that has it"),
}
"""What has to exist -> the capability that it shows, and how to get it. In order of dependence."""


@dataclass(frozen=True)
class Accounting:
    """The triggers for one guest; all text, nothing live.

    Instance and synthetic event carry the id of a vCPU thread, so that a leftover of a killed run
    is known by that thread's absence, and several guests of one host do not collide.
    """

    vcpu_tids: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{PREFIX}{min(self.vcpu_tids)}"

    @property
    def definition(self) -> str:
        return f"{self.name} u64 lat; u32 reason"

    @property
    def instance(self) -> str:
        return f"{INSTANCES}/{self.name}"

    @property
    def histogram(self) -> str:
        return f"{self._event(f'synthetic/{self.name}')}/hist"

    @property
    def on_sum(self) -> Write:
        """Put in while the window is shut, hence paused."""
        return self._sum("pause")

    @property
    def start(self) -> tuple[Write, ...]:
        # Putting a trigger in takes milliseconds; letting the sum go on is instant, so it is last.
        return (self._on_exit, self._on_entry, self._sum("clear"), self._sum("cont"))

    @property
    def stop(self) -> tuple[Write, ...]:
        # Pausing is instant; taking a trigger out waits for RCU, tens of milliseconds.
        return (self._sum("pause"), _without(self._on_entry), _without(self._on_exit))

    @property
    def triggers(self) -> tuple[str, ...]:
        """Every trigger file, in the order in which they can be emptied: users of variables
        first."""
        return (self._on_entry[0], self._on_exit[0], self.on_sum[0])

    def _event(self, event: str) -> str:
        return f"{self.instance}/events/{event}"

    @property
    def _filter(self) -> str:
        return "||".join(f"common_pid=={tid}" for tid in self.vcpu_tids)

    @property
    def _on_exit(self) -> Write:
        return (
            self._event("kvm/kvm_exit/trigger"),
            f"hist:keys=common_pid:ts0=common_timestamp,r0=exit_reason:size=1024 if {self._filter}",
        )

    @property
    def _on_entry(self) -> Write:
        # common_timestamp without .usecs is in nanoseconds.
        return (
            self._event("kvm/kvm_entry/trigger"),
            "hist:keys=common_pid:lat=common_timestamp-$ts0,r1=$r0:size=1024"
            f":onmatch(kvm.kvm_exit).{self.name}($lat,$r1) if {self._filter}",
        )

    def _sum(self, command: str) -> Write:
        return (
            self._event(f"synthetic/{self.name}/trigger"),
            f"hist:keys=reason:vals=hitcount,lat:sort=reason:{command}",
        )


def _without(write: Write) -> Write:
    path, text = write
    return (path, f"!{text}")


@contextmanager
def exit_accounting(host: Host, vcpu_tids: Sequence[int]) -> Iterator[Probe]:
    """A probe that counts the exits of these vCPU threads, and of no others, in each window.

    Nothing is counted until a window starts. Leaving the context takes everything out, also after
    a window that was cut short; what a killed run left behind is taken out on entering.
    Raises MissingCapability if the host's kernel cannot do it, LabError if it refuses.
    """
    if not vcpu_tids:
        raise LabError(f"{host.name}: no vCPU threads to account for: the guest is not running")
    accounting = Accounting(tuple(vcpu_tids))
    reasons_isa, reasons = exit_reasons(host)
    _remove_leftovers(host, accounting.name)
    try:
        _append(host, EVENTS, accounting.definition)
        host.run(("mkdir", accounting.instance))
        _append(host, *accounting.on_sum)
        yield _probe(accounting, reasons_isa, reasons)
    finally:
        _remove(host, accounting.name)


def exit_reasons(host: Host) -> tuple[Isa, Reasons]:
    """How this host's KVM names its exits; MissingCapability if they cannot be counted on it."""
    there = set(host.run(("ls", "-d", *NEEDED), check=False).text.split())
    for path, (capability, remedy) in NEEDED.items():
        if path not in there:
            why = f"exit accounting needs {path}, which {host.name} does not have"
            raise MissingCapability(capability, why, remedy=remedy)
    flags = host.run(("grep", "-m1", "-o", "-w", "-E", "vmx|svm", "/proc/cpuinfo"), check=False)
    match flags.text.split():
        case ["vmx", *_]:
            isa: Isa = "vmx"
        case ["svm", *_]:
            isa = "svm"
        case _:
            raise MissingCapability("vmx or svm", f"{host.name}'s CPU has neither")
    return isa, parse_reasons(host.read(FORMAT).decode())[isa]


def _probe(accounting: Accounting, isa: Isa, reasons: Reasons) -> Probe:
    def parse(result: WindowResult) -> Reading:
        text = result.late.get(accounting.histogram)
        if text is None:
            raise LabError(f"{accounting.histogram} could not be read after the window")
        return Reading(exits=exit_counts(text, isa, reasons))

    return Probe(
        "exits",
        parse,
        start=accounting.start,
        stop=accounting.stop,
        after=(accounting.histogram,),
    )


def _append(host: Host, path: str, text: str) -> None:
    """One write without truncation: opening these files with O_TRUNC empties them first."""
    try:
        # Not tee: it seeks to the end, which tracefs refuses.
        host.run(("dd", f"of={path}", "conv=notrunc", "bs=64K", "status=none"), stdin=text.encode())
    except CommandFailed as error:
        log = ""
        with suppress(HarnessError, OSError):
            log = host.read(f"{TRACEFS}/error_log").decode(errors="replace").strip()[-500:]
        raise LabError(f"{host.name}: {path} refuses {text!r}: {error.stderr.strip()} {log}") from (
            error
        )


def _remove_leftovers(host: Host, own: str) -> None:
    """Take out what belongs to threads that no longer exist, or has our own name."""
    names = {posixpath.basename(path) for path in host.glob(f"{INSTANCES}/{PREFIX}*")}
    events = host.read(EVENTS).decode().split()
    names |= {word for word in events if word.startswith(PREFIX)}
    for name in sorted(names):
        tid = name.removeprefix(PREFIX)
        if name == own or (tid.isdecimal() and not host.exists(f"/proc/{tid}")):
            _remove(host, name)


def _remove(host: Host, name: str) -> None:
    """Undo what `exit_accounting` made under `name`, as far as it is there."""
    tid = name.removeprefix(PREFIX)
    accounting = Accounting((int(tid),))
    if host.exists(accounting.instance):
        for path in accounting.triggers:
            with suppress(LabError):  # the event may never have been made
                host.write(path, b"")  # O_TRUNC removes every trigger
        host.run(("rmdir", accounting.instance))
    if name in host.read(EVENTS).decode().split():
        _append(host, EVENTS, f"!{accounting.definition}")
