"""Can the CPU run guests, and does it run at a steady pace?"""

from __future__ import annotations

import re

from harness.core.errors import ConfigError
from harness.doctor.facts import text
from harness.doctor.findings import GUESTS, Finding, State
from harness.hosts.base import Host
from harness.inventory.fields import cpu_list
from harness.inventory.view import ranges

CPU = "/sys/devices/system/cpu"
KVM = {"vmx": "kvm_intel", "svm": "kvm_amd"}
"""The flag of a virtualisation extension -> the module that makes use of it."""

COMMS = ("sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null")
CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"


def virtualisation(host: Host) -> tuple[Finding, ...]:
    """The CPU's extensions, by their flags in /proc/cpuinfo, and whether guests get them too."""
    cpuinfo = text(host, "/proc/cpuinfo")
    extension = flag(cpuinfo)
    inside = "hypervisor" in flags(cpuinfo)
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    name = model[1] if model else "an unknown CPU"
    offered = {"vmx": "VT-x (vmx)", "svm": "AMD-V (svm)"}.get(extension, "neither vmx nor svm")
    remedy = (
        "this is a virtual machine: let its host pass virtualisation on"
        if inside
        else "switch VT-x (Intel) or SVM mode (AMD) on in the BIOS"
    )
    found = Finding(
        "CPU virtualisation", "yes" if extension else "no", f"{name}: {offered}", remedy, GUESTS
    )
    return (found, *(_nested(host, extension) if extension else ()))


def flags(cpuinfo: str) -> frozenset[str]:
    """Of the first CPU."""
    found = re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def flag(cpuinfo: str) -> str:
    """The flag of the virtualisation extension, "" if there is none."""
    return next((each for each in KVM if each in flags(cpuinfo)), "")


def _nested(host: Host, extension: str) -> tuple[Finding, ...]:
    module = KVM[extension]
    value = text(host, f"/sys/module/{module}/parameters/nested")
    if not value:
        return (Finding("nested virtualisation", "note", f"{module} is not loaded"),)
    if value in ("Y", "1"):
        return (Finding("nested virtualisation", "yes", f"{module}: nested={value}"),)
    detail = f"{module}: nested={value}, so a nested lab in a guest of this machine uses TCG"
    remedy = f"modprobe -r {module} && modprobe {module} nested=1"
    return (Finding("nested virtualisation", "note", detail, remedy),)


def pace(host: Host, wanted: tuple[int, ...] = ()) -> tuple[Finding, ...]:
    """What makes figures repeat, or not. `wanted` are the CPUs that the inventory gives a run."""
    return (
        *_online(host, wanted),
        _governor(host),
        _turbo(host),
        _smt(host),
        _isolated(host, wanted),
        _irqbalance(host),
        _clock(host),
    )


def _online(host: Host, wanted: tuple[int, ...]) -> tuple[Finding, ...]:
    if not wanted:
        return ()
    there = _cpus(text(host, f"{CPU}/online"))
    absent = tuple(cpu for cpu in wanted if cpu not in there)
    detail = f"CPUs {ranges(wanted)}" + (f": {ranges(absent)} not online" if absent else "")
    remedy = "mend cpus in the inventory, or bring the CPUs up"
    return (Finding("CPUs of a run", "no" if absent else "yes", detail, remedy, GUESTS),)


def _governor(host: Host) -> Finding:
    paths = host.glob(f"{CPU}/cpu[0-9]*/cpufreq/scaling_governor")
    found = sorted({text(host, path) for path in paths})
    if not found:
        return Finding("governor", "note", "no cpufreq: firmware, or a host below, sets the pace")
    steady = found == ["performance"]
    return Finding(
        "governor",
        "yes" if steady else "no",
        ", ".join(found),
        "cpupower frequency-set -g performance",
        ("steady figures",),
    )


def _turbo(host: Host) -> Finding:
    """no_turbo of intel_pstate and boost of cpufreq (Documentation/admin-guide/pm)."""
    for path, off in ((f"{CPU}/intel_pstate/no_turbo", "1"), (f"{CPU}/cpufreq/boost", "0")):
        if value := text(host, path):
            detail = "off" if value == off else "on: the clock follows load and heat"
            state: State = "yes" if value == off else "no"
            return Finding("turbo", state, detail, f"echo {off} > {path}", ("steady figures",))
    return Finding("turbo", "note", "the kernel cannot tell")


def _smt(host: Host) -> Finding:
    control = text(host, f"{CPU}/smt/control") or "unknown"
    if control != "on":
        return Finding("SMT", "yes" if control != "unknown" else "note", control)
    siblings = text(host, f"{CPU}/cpu0/topology/thread_siblings_list")
    detail = f"on: two threads share a core (CPU 0: {siblings})"
    return Finding("SMT", "note", detail, "give a run one thread of each core, or boot with nosmt")


def _isolated(host: Host, wanted: tuple[int, ...]) -> Finding:
    """CPUs of a run that managed interrupts keep off, and that the scheduler still balances
    (isolcpus=, Documentation/admin-guide/kernel-parameters.txt)."""
    name = "isolated CPUs"
    unbalanced = _cpus(text(host, f"{CPU}/isolated"))
    words = re.search(r"\bisolcpus=(\S*\bmanaged_irq),([\d,-]+)", text(host, "/proc/cmdline"))
    managed = _cpus(words[2]) if words else frozenset()
    remedy = f"kernel command line: isolcpus=managed_irq,{ranges(wanted) or 'LIST'}"
    if taken := unbalanced & set(wanted or unbalanced):
        detail = f"{ranges(tuple(sorted(taken)))} from the scheduler, too: threads are not balanced"
        return Finding(name, "note", f"{detail} over them", remedy)
    detail = f"{ranges(tuple(sorted(managed)))} from managed interrupts" if managed else "none"
    if managed and managed.issuperset(wanted):
        return Finding(name, "yes", detail)
    return Finding(name, "note", detail, remedy)


def _irqbalance(host: Host) -> Finding:
    """By the names of processes; that some end meanwhile makes cat's status worthless."""
    found = "irqbalance" in host.run(COMMS, check=False).text.splitlines()
    return Finding(
        "irqbalance",
        "no" if found else "yes",
        "running: it moves interrupts meanwhile" if found else "not running",
        "systemctl stop irqbalance",
        ("steady figures",),
    )


def _clock(host: Host) -> Finding:
    source = text(host, CLOCK)
    slow = source in ("hpet", "acpi_pm", "jiffies", "refined-jiffies")
    detail = f"{source}: reading it leaves the CPU" if slow else source or "unknown"
    remedy = "dmesg | grep -i tsc says why the TSC was given up; tsc=reliable overrides that"
    state: State = "no" if slow else "yes" if source else "note"
    return Finding("clock source", state, detail, remedy, ("steady figures",))


def _cpus(listed: str) -> frozenset[int]:
    try:
        return frozenset(cpu_list(listed))
    except ConfigError:  # an empty list is an empty line
        return frozenset()
