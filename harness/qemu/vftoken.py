"""QEMU given a VF that opens with a token only (harness.pci.vftoken)."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import MissingCapability
from harness.hosts.base import Host
from harness.journal.journal import Journal, UndoCommand
from harness.pci.vftoken import VfToken
from harness.qemu.argv import RUN

FILE = """\
[device]
  driver = "vfio-pci"
  host = "{bdf}"
  rombar = "0"
  vf-token = "{token}"
"""
"""QEMU's own form of options (-readconfig); the property is there since QEMU 8.1."""

KEEP = 'umask 077 && mkdir -p "${1%/*}" && cat >"$1"'


@contextmanager
def qemu_device(
    host: Host, bdf: str, token: VfToken, journal: Journal
) -> Iterator[tuple[str, ...]]:
    """QEMU's arguments that give a guest the function with its token.

    The token is in a file that only its owner may read: a command line is there for all users
    (proc(5), /proc/PID/cmdline). The file is gone afterwards.
    """
    path = posixpath.join(RUN, f"vf-token-{uuid.uuid4().hex}")
    with journal.change(f"wrote down the VF token of {bdf}", (UndoCommand(("rm", "-f", path)),)):
        text = FILE.format(bdf=bdf, token=token.value)
        host.run(("sh", "-c", KEEP, "sh", path), stdin=text.encode())
        yield ("-readconfig", path)


def require_qemu(host: Host, qemu: tuple[str, ...]) -> None:
    """MissingCapability unless QEMU's vfio-pci can be given a token."""
    properties = host.run((*qemu, "-device", "vfio-pci,help")).text
    if "vf-token" not in properties:
        raise MissingCapability("VF tokens", f"{host.name}'s QEMU has no property vf-token")
