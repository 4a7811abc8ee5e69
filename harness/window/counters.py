"""Counters in the text of Linux's proc and sysfs files. Pure functions.

A file that cannot be parsed gives LabError with the offending line: it means a kernel that writes
something else than proc(5) says.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile

from harness.core.errors import LabError

NET_DEV = {"rx_bytes": 0, "rx_packets": 1, "tx_bytes": 8, "tx_packets": 9}
"""Column of each counter behind the interface's name in /proc/net/dev (proc_pid_net(5))."""

NET_DEV_DROP, NET_DEV_FIFO = 3, 4
"""Likewise: what the driver dropped and what the NIC had no room for (dev_seq_printf_stats in
net/core/net-procfs.c), and what its queues had none for."""

STATISTICS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes")
"""Files in /sys/class/net/<interface>/statistics."""

TIMER_LINES, IPI_LINES = ("LOC", "HVS"), ("RES", "CAL", "TLB")
"""Lines of /proc/interrupts without a number: local APIC timer, Hyper-V's; rescheduling, function
call and TLB shootdown interrupts (arch_show_interrupts in arch/x86/kernel/irq.c)."""

TIMERS = ("timer", "hpet", "rtc")
"""What the names of timers with a number begin with: the PIT's, a HPET's, the CMOS clock's."""


def parse_net_dev(text: str, interface: str) -> dict[str, int]:
    """{rx,tx}_{bytes,packets} and rx_missed of one interface in /proc/net/dev; LabError if it is
    not there."""
    for line in text.splitlines():
        name, colon, rest = line.rpartition(":")
        if colon and name.strip() == interface:
            columns = rest.split()
            if len(columns) <= max(NET_DEV.values()):
                raise LabError(f"/proc/net/dev: too few columns: {line!r}")
            missed = (number(columns[place], line) for place in (NET_DEV_DROP, NET_DEV_FIFO))
            return {
                **{key: number(columns[place], line) for key, place in NET_DEV.items()},
                "rx_missed": missed_of(*missed),
            }
    raise LabError(f"/proc/net/dev has no interface {interface}")


def missed_of(one: int, other: int) -> int:
    """What two counters of a driver tell together: some have one number in both."""
    return one if one == other else one + other


def parse_retransmitted(text: str) -> int:
    """TCP segments sent again, from /proc/net/snmp (proc_pid_net(5), RFC 4022 tcpRetransSegs)."""
    return _snmp(text, "Tcp", "RetransSegs")


def parse_ip_received(text: str) -> int:
    """IPv4 packets that came as far as the kernel's IP, whatever became of them, from
    /proc/net/snmp (proc_pid_net(5), RFC 4293 ipSystemStatsInReceives)."""
    return _snmp(text, "Ip", "InReceives")


def parse_udp_dropped(text: str) -> int:
    """UDP datagrams that arrived and could not be handed on, from /proc/net/snmp: those for a full
    socket among them (proc_pid_net(5), RFC 4113 udpInErrors)."""
    return _snmp(text, "Udp", "InErrors")


def _snmp(text: str, group: str, name: str) -> int:
    rows = [line.split() for line in text.splitlines() if line.startswith(f"{group}:")]
    if len(rows) != 2 or name not in rows[0]:
        raise LabError(f"/proc/net/snmp has no {group}: {name}")
    return number(rows[1][rows[0].index(name)], rows[1][0])


def parse_cpu_time(text: str) -> int:
    """Nanoseconds on a CPU: the first figure of a thread's schedstat (proc_pid_schedstat(5))."""
    words = text.split()
    if not words:
        raise LabError("schedstat is empty: the kernel lacks CONFIG_SCHED_INFO")
    return number(words[0], text)


def thread_role(comm: str) -> str:
    """Whose CPU time a thread of QEMU's process is: "vcpu", "vhost" or "qemu".

    QEMU names vCPU threads "CPU <n>/KVM" (or /TCG), given `-name debug-threads=on`; vhost workers
    are named "vhost-<pid>" and, since Linux 6.4, are threads of QEMU's process.
    """
    if comm.startswith("CPU ") and "/" in comm:
        return "vcpu"
    return "vhost" if comm.startswith("vhost-") else "qemu"


def cpu_times(texts: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """From the comm and schedstat files of threads: thread directory -> (role, ns on a CPU).

    A thread of which only one of the two files could be read was ending; it is left out.
    """
    times: dict[str, tuple[str, int]] = {}
    for path, text in texts.items():
        thread, name = posixpath.split(path)
        comm = texts.get(f"{thread}/comm")
        if name == "schedstat" and comm is not None:
            times[thread] = (thread_role(comm.rstrip("\n")), parse_cpu_time(text))
    return times


@dataclass(frozen=True)
class InterruptLine:
    """A line of /proc/interrupts: how often, by CPU, and whose. `chip` begins with what raises
    it, such as "IR-PCI-MSIX-0000:01:00.0"; "IR-" means remapped."""

    counts: tuple[int, ...]
    chip: str
    users: str


def parse_interrupts(text: str) -> dict[str, InterruptLine]:
    """All lines by what they begin with: an IRQ's number, or a word such as "LOC".

    The lines ERR and MIS count errors, not interrupts of a CPU, but have one column and are 0 on
    a sane machine.
    """
    header, *lines = text.splitlines() or [""]
    cpus = len(header.split())
    found = {}
    for line in lines:
        name, colon, rest = line.partition(":")
        columns = rest.split(None, cpus + 2)
        counts = tuple(map(int, takewhile(_counts, columns[:cpus])))
        chip = columns[cpus] if len(columns) > cpus else ""
        users = columns[cpus + 2] if len(columns) > cpus + 2 else ""
        if colon and counts:
            found[name.strip()] = InterruptLine(counts, chip, users)
    return found


def _counts(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def interrupt_counts(text: str, device: Collection[str] = ()) -> dict[str, int]:
    """/proc/interrupts summed over all CPUs, by kind: "device" for the lines of these numbers,
    "timer" for the CPUs' own and the platform's, "ipi" for what CPUs send one another, "other" for
    the rest. Without a number there is no "device", for a device without interrupts is unknown.
    """
    found = dict.fromkeys((*(("device",) if device else ()), "timer", "ipi", "other"), 0)
    for name, line in parse_interrupts(text).items():
        if name in device:
            kind = "device"
        elif name in TIMER_LINES or (name.isdecimal() and line.users.startswith(TIMERS)):
            kind = "timer"
        else:
            kind = "ipi" if name in IPI_LINES else "other"
        found[kind] += sum(line.counts)
    return found


def number(word: str, line: str) -> int:
    if not (word.isascii() and word.isdecimal()):
        raise LabError(f"not a counter: {word!r} in {line!r}")
    return int(word)
