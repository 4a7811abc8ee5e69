"""Exits per reason with their handling time, counted in the kernel for one guest's vCPU threads.

Three BPF programs time every exit, from kvm_exit to the next kvm_entry of the same thread, and how
much of that the thread was on a CPU (`loader.py` holds them and puts them in). Their counts only
grow, and read as text like any other counter: a window reads them at its edges, and nothing is
switched while it is open. So those exits count that ended between the two readings; of one that was
going on at either, the time between counts. No reader runs meanwhile; `make bench-accounting`
measures what it costs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources

from harness.core.errors import CommandFailed, LabError, MissingCapability, RunOver
from harness.exits.loader import REFUSED
from harness.exits.model import (
    Edge,
    Isa,
    Reasons,
    exits_between,
    parse_counts,
    parse_event,
    parse_reasons,
    parse_vcpus,
)
from harness.hosts.base import Host
from harness.hosts.program import PYTHON
from harness.window.window import Probe, Reading, WindowResult

FORMAT = "/sys/kernel/tracing/events/kvm/kvm_exit/format"
BPFFS = "/sys/fs/bpf"
BPF_FS_MAGIC = "cafe4a11"  # include/uapi/linux/magic.h
PREFIX = "nicproof_"

ASK_DOCTOR = "nicproof doctor HOST tells of root's rights there, lockdown and Python"

NEEDED = {
    "/sys/kernel/tracing/README": (
        "tracefs",
        "mount -t tracefs nodev /sys/kernel/tracing, as root",
    ),
    FORMAT: ("kvm trace events", "modprobe kvm_amd or kvm_intel"),
    BPFFS: ("CONFIG_BPF_SYSCALL", "use a kernel that has it"),
}
"""What has to exist -> the capability that it shows, and how to get it. In order of dependence."""


@dataclass(frozen=True)
class Accounting:
    """Where one guest's counts are pinned.

    The name carries the id of a vCPU thread, so that a leftover of a killed run is known by that
    thread's absence, and several guests of one host do not collide.
    """

    vcpu_tids: tuple[int, ...]

    @property
    def directory(self) -> str:
        return f"{BPFFS}/{PREFIX}{min(self.vcpu_tids)}"

    @property
    def counts(self) -> str:
        """Of two files: what each vCPU thread is at, and the exits that have ended. The pattern
        keeps their order at both edges of a window, which `exits_between` relies upon."""
        return f"{self.directory}/counts/*"


@contextmanager
def exit_accounting(host: Host, vcpu_tids: Sequence[int]) -> Iterator[Probe]:
    """A probe that counts the exits of these vCPU threads, and of no others, in each window.

    Leaving the context takes everything out; what a killed run left behind is taken out on
    entering. Raises MissingCapability if the host's kernel cannot do it, or refuses.
    """
    if not vcpu_tids:
        raise LabError(f"{host.name}: no vCPU threads to account for: the guest is not running")
    accounting = Accounting(tuple(vcpu_tids))
    isa, event = exit_event(host)
    _remove_leftovers(host, accounting.directory)
    try:
        _load(host, accounting.directory, accounting.vcpu_tids, event)
        yield _probe(accounting, isa, parse_reasons(event)[isa])
    finally:
        host.run(("rm", "-rf", accounting.directory))


def require_exit_accounting(host: Host) -> None:
    """MissingCapability if exits cannot be counted there: the programs are put in, of a thread that
    is no vCPU, and leave no trace."""
    _, event = exit_event(host)
    _load(host, "", (1,), event)


def exit_event(host: Host) -> tuple[Isa, str]:
    """How this host's KVM tells of an exit: by which list of reasons, and the event's format.

    MissingCapability if exits cannot be counted on it.
    """
    there = set(host.run(("ls", "-d", *NEEDED), check=False).text.split())
    for path, (capability, remedy) in NEEDED.items():
        if path not in there:
            why = f"exit accounting needs {path}, which {host.name} does not have"
            raise MissingCapability(capability, why, remedy=remedy)
    if host.run(("stat", "-f", "-c", "%t", BPFFS)).text.strip() != BPF_FS_MAGIC:
        why = f"exit accounting needs a bpffs at {BPFFS}, where {host.name} has none mounted"
        raise MissingCapability("bpffs", why, remedy=f"mount -t bpf bpf {BPFFS}, as root")
    flags = host.run(("grep", "-m1", "-o", "-w", "-E", "vmx|svm", "/proc/cpuinfo"), check=False)
    match flags.text.split():
        case ["vmx", *_]:
            isa: Isa = "vmx"
        case ["svm", *_]:
            isa = "svm"
        case _:
            raise MissingCapability("vmx or svm", f"{host.name}'s CPU has neither")
    try:
        return isa, host.read(FORMAT).decode()
    except RunOver:
        raise
    except (OSError, LabError) as error:
        why = f"exit accounting reads {FORMAT}, which {host.name} refuses: {error}"
        raise MissingCapability("kvm trace events", why, remedy=ASK_DOCTOR) from error


@cache
def _loader_source() -> str:
    return (resources.files(__package__) / "loader.py").read_text()


def _load(host: Host, directory: str, tids: Sequence[int], event: str) -> None:
    number, offset = parse_event(event)
    spec = {
        "directory": directory,
        "tids": tuple(tids),
        "event": number,
        "reason_offset": offset,
    }
    program = f"{_loader_source()}\nmain({spec!r})\n".encode()
    try:
        host.run((*PYTHON, "-"), stdin=program)
    except CommandFailed as error:
        message = error.stderr.strip()[-700:]
        why = f"{host.name}: its kernel does not let exits be counted: {message}"
        if error.returncode == REFUSED:
            raise MissingCapability("exit accounting", why, remedy=ASK_DOCTOR) from error
        raise LabError(why) from error


def _probe(accounting: Accounting, isa: Isa, reasons: Reasons) -> Probe:
    def edge(texts: Mapping[str, str], read_ns: Mapping[str, int]) -> Edge:
        vcpus, exits = (accounting.counts.replace("*", name) for name in ("1-vcpus", "2-exits"))
        try:
            return Edge(read_ns[vcpus], parse_vcpus(texts[vcpus]), parse_counts(texts[exits]))
        except KeyError as error:
            raise LabError(f"{error} could not be read at both edges of the window") from None

    def parse(result: WindowResult) -> Reading:
        opening = edge(result.before, result.before_ns)
        closing = edge(result.after, result.after_ns)
        exits = exits_between(opening, closing, isa, reasons)
        vcpus_ns = len(opening.vcpus) * (closing.at_ns - opening.at_ns)
        away = closing.away_in_guest - opening.away_in_guest
        in_guest = vcpus_ns - sum(each.time_ns for each in exits) - away
        return Reading({"vcpus.window_ns": vcpus_ns, "cpu.guest_ns": in_guest}, exits)

    return Probe("exits", parse, read=(accounting.counts,))


def _remove_leftovers(host: Host, own: str) -> None:
    """Take out what belongs to threads that no longer exist, or has our own name."""
    for directory in host.glob(f"{BPFFS}/{PREFIX}*"):
        tid = posixpath.basename(directory).removeprefix(PREFIX)
        if directory == own or (tid.isdecimal() and not host.exists(f"/proc/{tid}")):
            host.run(("rm", "-rf", directory))
