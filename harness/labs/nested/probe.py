"""Does an accelerator boot a guest? Only booting one tells."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.guest.image import cpio, initramfs
from harness.hosts.local import LocalHost
from harness.hosts.rundir import short_dir
from harness.labs.nested.process import connect, control_argv
from harness.labs.nested.toolchain import Toolchain
from harness.qemu.qmp import QemuGone, Qmp

PROBE_LIMIT = 20.0
"""Seconds that a working KVM may need for the tiny guest; TCG takes 3 s."""

GREETING = "nicproof: this accelerator boots"

INIT = f"""#!/bin/busybox sh
/bin/busybox echo '{GREETING}'
/bin/busybox poweroff -f
"""


def boots(toolchain: Toolchain, accelerator: tuple[str, ...]) -> bool:
    """Whether a stock kernel gets to its init within PROBE_LIMIT seconds.

    `accelerator` is QEMU's options for it. A /dev/kvm that opens and makes VMs may still fail in
    the first instructions of a real kernel (seen under other hypervisors), so nothing less than a
    boot tells. QEMU stops such a VM and waits (run state "internal-error"); so it is asked.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(short_dir())
        initrd, socket, serial = (directory / name for name in ("initrd", "qmp", "serial"))
        initrd.write_bytes(_initrd(toolchain.root))
        argv = (
            *probe_argv(toolchain, accelerator, initrd),
            *control_argv(socket, serial),
        )
        process = stack.enter_context(LocalHost().spawn(argv))
        try:
            qmp = connect(process, socket, serial, stack)
            Deadline(PROBE_LIMIT, "the boot of a tiny guest").poll(
                lambda: process.poll() is not None or _has_failed(qmp), interval=0.1
            )
        except LabError:  # it refused to start, or hangs
            return False
        return GREETING in serial.read_text(errors="replace")


def _has_failed(qmp: Qmp) -> bool:
    try:
        return bool(qmp.command("query-status")["status"] == "internal-error")
    except QemuGone:  # it has ended, by itself: the guest powered off
        return False


def probe_argv(toolchain: Toolchain, accelerator: tuple[str, ...], initrd: Path) -> tuple[str, ...]:
    """A tiny guest that prints a line on its serial port and powers off."""
    return (
        *(*toolchain.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-M", "q35", *accelerator, "-m", "256"),
        *("-kernel", str(toolchain.kernel), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 panic=-1 quiet"),
    )


def _initrd(root: Path) -> bytes:
    return cpio.pack(
        (
            *initramfs.skeleton(),
            *initramfs.busybox(root, ()),
            cpio.file("init", INIT.encode(), 0o755),
        )
    )
