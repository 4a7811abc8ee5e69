"""Kernel modules of a host: is one there, or could it be loaded? And loading it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand
from harness.journal.permissions import Permission, denied


def shown(module: str) -> str:
    """The path that is there while the module is, be it built in or not."""
    return f"/sys/module/{module.replace('-', '_')}"


def unloading(module: str) -> UndoCommand:
    """The undo of loading a module."""
    return UndoCommand(("modprobe", "-r", module), when=shown(module))


def loadable(host: Host, module: str) -> bool:
    """Whether the kernel has the module, built in or as a file. Nothing is loaded."""
    return host.run(("modprobe", "--dry-run", module), check=False).returncode == 0


def unavailable(host: Host, module: str, may: Collection[Permission]) -> tuple[str, str] | None:
    """What is lacking, and why, if a module that is not there cannot or may not be loaded."""
    if not loadable(host, module):
        return (f"kernel module {module}", f"{host.name}'s kernel has none")
    if "modules" not in may:
        capability, why = denied(host.name, "modules")
        return (capability, f"{module} is not loaded, and {why}")
    return None


def load(host: Host, module: str, shown_at: str, journal: Journal) -> None:
    """Load a module, unless the path `shown_at` tells that it is there already. It stays loaded.

    Others may make use of it as soon as it is there, so it is not unloaded at the end of the run;
    `restore` does that. MissingCapability if it may not be loaded, or there is none.
    """
    if host.exists(shown_at):
        return
    if unmet := unavailable(host, module, journal.may):
        raise MissingCapability(*unmet)
    journal.keep(f"loaded module {module}", (unloading(module),))
    host.run(("modprobe", module))


@contextmanager
def lent(host: Host, module: str, journal: Journal, *options: str) -> Iterator[None]:
    """A module that is there while this lasts, and not afterwards, unless it was before. It is
    loaded with these options.

    MissingCapability as `load`.
    """
    if host.exists(shown(module)):
        yield
        return
    if unmet := unavailable(host, module, journal.may):
        raise MissingCapability(*unmet)
    with journal.change(f"loaded module {module}", (unloading(module),)):
        host.run(("modprobe", module, *options))
        yield
