"""KVM and QEMU: do they run a guest, and do they hand devices to it?"""

from __future__ import annotations

import re

from harness.core.errors import DeadlineExpired, LabError, NotStarted
from harness.doctor.facts import output_of
from harness.doctor.findings import GUESTS, Finding
from harness.hosts.base import Host
from harness.hosts.program import last_words, program
from harness.labs.nested.toolchain import parse_version

QEMU = "qemu-system-x86_64"

WANTED = {
    "x-no-mmap": "bench --vfio x-no-mmap=on",
    "x-no-kvm-msix": "bench --vfio x-no-kvm-msix=on",
    "vf-token": "a VF whose PF is with vfio-pci, too",
}
"""Properties of vfio-pci that nicproof can make use of, and for what."""


def kvm(host: Host, boots: bool | None = None) -> Finding:
    """KVM by running a guest of three instructions: a device node that opens proves nothing.

    `boots` is what is known of whole guests, None if nothing is: there is KVM that runs the three
    and no kernel.
    """
    if not host.exists("/dev/kvm"):
        remedy = "modprobe kvm_intel or kvm_amd; dmesg says why that fails"
        return Finding("KVM runs code", "no", "no /dev/kvm", remedy, GUESTS)
    try:
        result = host.run(program(__package__, "kvm"), timeout=10, check=False)
        answer = result.text.strip() or last_words(result)
    except DeadlineExpired:
        answer = "a guest of three instructions does not end"
    remedy = "look into dmesg; may this user open /dev/kvm? (group kvm)"
    works = answer == "works"
    detail = "three instructions, and out again" if works else answer
    if works and boots is False:
        detail, remedy = "three instructions, but no kernel", "take another machine"
    fine = works and boots is not False
    return Finding("KVM runs code", "yes" if fine else "no", detail, remedy, GUESTS)


def qemu(host: Host) -> tuple[Finding, ...]:
    """Its version, and what its vfio-pci can do."""
    try:
        version = output_of(host, (QEMU, "--version"))
    except NotStarted:
        version = None
    if version is None:
        remedy = "sudo apt-get install qemu-system-x86"
        return (Finding("QEMU", "no", f"no {QEMU} that starts", remedy, GUESTS),)
    try:
        found = Finding("QEMU", "yes", parse_version(version), needed=GUESTS)
    except LabError as error:
        found = Finding("QEMU", "note", error.message)
    output = output_of(host, (QEMU, "-device", "vfio-pci,help"))
    return (found, judge_vfio(output or ""))


def judge_vfio(message: str) -> Finding:
    """From what `-device vfio-pci,help` prints."""
    properties = re.findall(r"^  (\S+)=<", message, re.MULTILINE)
    if "host" not in properties:
        remedy = "take a QEMU that was built with vfio, such as your distribution's"
        return Finding("QEMU's vfio-pci", "no", "it has no such device", remedy, GUESTS)
    lacking = [f"{name} ({use})" for name, use in WANTED.items() if name not in properties]
    detail = f"{len(properties)} properties" + (f", not {', '.join(lacking)}" if lacking else "")
    return Finding("QEMU's vfio-pci", "note" if lacking else "yes", detail, "take a newer QEMU")
