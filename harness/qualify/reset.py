"""Function level resets, by the kernel's own way of doing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import MissingCapability
from harness.host.base import Host
from harness.journal import Journal, Write
from harness.pci.device import ROOT
from harness.qualify.recovery import WRITE


@contextmanager
def flr_only(host: Host, bdf: str, journal: Journal) -> Iterator[tuple[str, ...]]:
    """The function is reset by FLR and in no other way; yields the argv of a reset.

    MissingCapability if it has no FLR.
    """
    prior = " ".join(reset_methods(host, bdf))
    with journal.change(f"had {bdf} be reset by FLR only", (Write(_path(bdf), prior),)):
        yield flr_argv(host, bdf)


def flr_argv(host: Host, bdf: str) -> tuple[str, ...]:
    """argv that resets the function by FLR, now that no other way is left to the kernel.

    Else it would turn to a bus or a power reset for a function that has no FLR (reset_method in
    Documentation/ABI/testing/sysfs-bus-pci). MissingCapability if that is so.
    """
    methods = reset_methods(host, bdf)
    if "flr" not in methods:
        raise MissingCapability("FLR", f"{bdf} is reset by: {' '.join(methods) or 'nothing'}")
    host.write(_path(bdf), b"flr")
    return (*WRITE, "1", f"{ROOT}/{bdf}/reset")


def reset_methods(host: Host, bdf: str) -> tuple[str, ...]:
    """The ways in which the kernel can reset the function, in the order in which it tries them."""
    path = _path(bdf)
    return tuple(host.read(path).decode().split()) if host.exists(path) else ()


def _path(bdf: str) -> str:
    return f"{ROOT}/{bdf}/reset_method"
