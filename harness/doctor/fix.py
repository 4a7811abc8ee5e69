"""What `doctor --fix` does: it loads modules, and nothing that would outlast a boot."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from harness.core.errors import CommandFailed
from harness.doctor.cpu import KVM, flag
from harness.doctor.facts import output_of, text
from harness.doctor.kernel import loaded
from harness.hosts.base import Host
from harness.journal.journal import Journal
from harness.journal.modules import unloading
from harness.journal.permissions import Permission


def fix(host: Host, may: frozenset[Permission]) -> tuple[str, ...]:
    """Load what is missing and can be had, if that may be done; returns what was done, or why not.

    Each module is written down in the host's journal with its undo, for `restore`.
    """
    journal = Journal(host, f"doctor-{uuid.uuid4().hex[:8]}")
    wanted = tuple(_missing(host))
    if wanted and "modules" not in may:
        return (f"not loaded, since the inventory does not allow it: {', '.join(wanted)}",)
    return tuple(_load(host, journal, module) for module in wanted) or ("nothing to load",)


def _missing(host: Host) -> Iterator[str]:
    """Modules that guests need, that have a file and are not loaded."""
    for module in (KVM.get(flag(text(host, "/proc/cpuinfo")), ""), "vfio-pci"):
        if module and not loaded(host, module):
            file = (output_of(host, ("modinfo", "-n", module)) or "").strip()
            if file and file != "(builtin)":
                yield module


def _load(host: Host, journal: Journal, module: str) -> str:
    undo = unloading(module)
    journal.keep(f"loaded module {module}", (undo,))
    try:
        host.run(("modprobe", module))
    except CommandFailed as error:
        return f"{module} cannot be loaded: {error.stderr.strip()}"
    return f"loaded {module}; undone by: {' '.join(undo.argv)}"
