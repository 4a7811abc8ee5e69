"""What the kernel was built with, and whether the modules among it can be had."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass

from harness.core.errors import LabError, NotStarted, RunOver
from harness.doctor.facts import output_of, text
from harness.doctor.findings import GUESTS, Finding, Purpose, State
from harness.doctor.iommu import told_by_firmware
from harness.hosts.base import Host

IOMMUS = {"GenuineIntel": "INTEL_IOMMU", "AuthenticAMD": "AMD_IOMMU", "HygonGenuine": "AMD_IOMMU"}
"""CPU vendor -> option of its IOMMU's driver."""

BY_TABLE = {"DMAR": "INTEL_IOMMU", "IVRS": "AMD_IOMMU"}
"""The firmware's table of an IOMMU -> option of its driver. It tells more than the CPU does: VT-d
is on boards of others, too, and QEMU gives it to any CPU."""


@dataclass(frozen=True)
class Option:
    """A kernel option. `module` is what it is called as a module, "" if it cannot be one."""

    name: str
    what: str
    module: str = ""
    needed: tuple[Purpose, ...] = ()
    instead: str = ""  # an option that gives the same, built in


def options(iommu: str) -> tuple[Option, ...]:
    """Those that count where `iommu` is the option of the IOMMU's driver (Kconfig of
    drivers/iommu, drivers/vfio and drivers/pci)."""
    return (
        Option("IOMMU_SUPPORT", "IOMMUs", needed=GUESTS),
        Option(iommu, "this machine's IOMMU", needed=GUESTS),
        Option("IRQ_REMAP", "interrupt remapping", needed=GUESTS),
        Option("PCI_IOV", "VFs", needed=("SR-IOV",)),
        Option("PCI_STUB", "a driver that keeps a device free", "pci-stub"),
        Option("VFIO", "devices in user space", "vfio", GUESTS),
        Option(
            "VFIO_IOMMU_TYPE1",
            "DMA of guests by the IOMMU",
            "vfio_iommu_type1",
            GUESTS,
            instead="IOMMUFD_VFIO_CONTAINER",  # iommufd then answers as /dev/vfio/vfio
        ),
        Option("VFIO_PCI", "PCI devices in guests", "vfio-pci", GUESTS),
        Option("VFIO_NOIOMMU", "vfio without an IOMMU, which is no isolation"),
        Option("IOMMUFD", "vfio's newer interface", "iommufd"),
    )


def kernel(host: Host) -> tuple[Finding, ...]:
    """One finding an option."""
    release = (output_of(host, ("uname", "-r")) or "").strip()
    found = config(host, release)
    if found is None:
        detail = f"neither /proc/config.gz nor /boot/config-{release} can be read"
        return (Finding("kernel options", "note", detail, "modprobe configs, if there is such"),)
    values = parse(found)
    return tuple(
        _instead(option)
        if option.name not in values and values.get(option.instead) == "y"
        else judge(option, values.get(option.name, ""), _module(host, option, values))
        for option in options(iommu_option(host))
    )


def _instead(option: Option) -> Finding:
    detail = f"by CONFIG_{option.instead} ({option.what})"
    return Finding(f"CONFIG_{option.name}", "yes", detail, needed=option.needed)


LOCKDOWN = "/sys/kernel/security/lockdown"

LOCKED = {
    "integrity": "no module without a signature, and no program writes to PCI configuration space",
    "confidentiality": "the same, and what programs read of the kernel is cut down, too",
}
"""What each mode keeps from the things that are done here (include/linux/security.h, enum
lockdown_reason). vfio, KVM and BPF programs that read none of the kernel's memory go on."""


def lockdown(host: Host) -> Finding:
    """Whether root, too, is kept from the kernel (kernel_lockdown(7)), as Secure Boot brings it
    about in most distributions."""
    return judge_lockdown(text(host, LOCKDOWN))


def judge_lockdown(modes: str) -> Finding:
    """From all modes, with the one in force in brackets."""
    name, mode = "kernel lockdown", re.search(r"\[(\w+)\]", modes)
    if mode is None:
        return Finding(name, "note", f"not told: {LOCKDOWN} cannot be read")
    if mode[1] == "none":
        return Finding(name, "yes", "off")
    detail = f"{mode[1]}: {LOCKED.get(mode[1], 'a mode that nicproof does not know')}"
    remedy = "if a module of yours does not load: sign it, or switch Secure Boot off"
    return Finding(name, "note", detail, remedy)


def iommu_option(host: Host) -> str:
    """The option of the IOMMU's driver: by the firmware, or by the CPU if that tells of none."""
    for table in told_by_firmware(host):
        return BY_TABLE[table]
    vendor = re.search(r"^vendor_id\s*: (\S+)", text(host, "/proc/cpuinfo"), re.MULTILINE)
    return IOMMUS.get(vendor[1] if vendor else "", "INTEL_IOMMU")


def config(host: Host, release: str) -> str | None:
    """The running kernel's configuration, None if it is not told."""
    try:
        return gzip.decompress(host.read("/proc/config.gz")).decode(errors="replace")
    except RunOver:
        raise
    except (OSError, EOFError, zlib.error, LabError):
        return text(host, f"/boot/config-{release}") or None


def parse(config: str) -> dict[str, str]:
    """Option, without CONFIG_, -> "y", "m" or its value; one that is not set is not there."""
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", config, re.MULTILINE))


def loaded(host: Host, module: str) -> bool:
    """In sysfs a module has "_" for each "-" in its name."""
    return host.exists(f"/sys/module/{module.replace('-', '_')}")


def _module(host: Host, option: Option, values: dict[str, str]) -> str:
    """The state of an option's module: "loaded", "there", "locked", "gone" or "unknown"; "" if it
    is none.

    modinfo -n names a module's file, or "(builtin)" (modinfo(8)).
    """
    if values.get(option.name) != "m":
        return ""
    if loaded(host, option.module):
        return "loaded"
    try:
        if not output_of(host, ("modinfo", "-n", option.module)):
            return "gone"
    except NotStarted:
        return "unknown"
    return "locked" if text(host, "/proc/sys/kernel/modules_disabled") == "1" else "there"


def judge(option: Option, value: str, module: str) -> Finding:
    """What an option's value and its module's state amount to."""
    name = f"CONFIG_{option.name}"
    details = {
        "loaded": f"module {option.module}, loaded",
        "there": f"module {option.module}, which can be loaded",
        "locked": f"module {option.module}, and this kernel loads no more modules until it boots",
        "gone": f"missing: module {option.module} was built, but its file is not installed",
        "unknown": f"module {option.module}, of which nothing can be told: there is no modinfo",
    }
    remedies = {
        "locked": f"load {option.module} at boot: /etc/modules-load.d",
        "gone": "install the package of all modules, such as linux-modules-extra-$(uname -r)",
        "unknown": "sudo apt-get install kmod",
    }
    what = f" ({option.what})"
    if module in ("loaded", "there"):
        return Finding(name, "yes", details[module] + what, needed=option.needed)
    if value == "y":
        return Finding(name, "yes", f"built in{what}", needed=option.needed)
    state: State = "no" if option.needed and module != "unknown" else "note"
    detail = details.get(module, "missing") + what
    remedy = remedies.get(module, "boot a kernel that has it" if option.needed else "")
    return Finding(name, state, detail, remedy, option.needed)
