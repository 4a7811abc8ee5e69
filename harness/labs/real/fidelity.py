"""What figures of a host are worth, by what it says of itself: is it a machine, or in one?"""

from __future__ import annotations

import re

from harness.core.units import Fidelity
from harness.hosts.base import Host

CPUINFO = "/proc/cpuinfo"
VENDOR = "/sys/class/dmi/id/sys_vendor"
CLOCKS = "/sys/devices/system/clocksource/clocksource0/available_clocksource"

EMULATED = ("QEMU TCG CPU", "QEMU Virtual CPU")
"""How the models `max` and `qemu64` of QEMU call themselves (target/i386/cpu.c). The second one may
also be run by KVM, which then offers its clock."""


def fidelity(host: Host) -> Fidelity:
    """Of what is measured on this host."""
    return judge(*(_text(host, path) for path in (CPUINFO, VENDOR, CLOCKS)))


def judge(cpuinfo: str, vendor: str, clocks: str) -> Fidelity:
    """From the content of CPUINFO, VENDOR and CLOCKS.

    A virtual machine is known by the flag `hypervisor`, bit 31 of CPUID.1:ECX, which no real CPU
    sets, or by QEMU as its maker where somebody has hidden the flag. Then it is run by hardware
    virtualisation, ours or another hypervisor's, unless its CPU says that QEMU emulates it.
    """
    flags = re.search(r"^flags\s*: (.*)$", cpuinfo, re.MULTILINE)
    if "hypervisor" not in (flags[1].split() if flags else ()) and vendor.strip() != "QEMU":
        return "hardware"
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    emulated = model is not None and model[1].startswith(EMULATED)
    return "nested-tcg" if emulated and "kvm-clock" not in clocks.split() else "nested-kvm"


def _text(host: Host, path: str) -> str:
    """A file's content, "" if the host has none of that name."""
    try:
        return host.read(path).decode(errors="replace")
    except FileNotFoundError:
        return ""
