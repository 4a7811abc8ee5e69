"""VFs of a PF that vfio-pci owns, and the token that lets a program open them.

Whoever drives such a PF can do harm to its VFs' users. So vfio-pci makes VFs of it only if its
parameter `enable_sriov` says so, and whoever opens one of them has to know a token, a UUID that
was set through the PF (Linux 5.7; vfio_pci_validate_vf_token in drivers/vfio/pci/vfio_pci_core.c).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from harness.core.errors import LabError, MissingCapability
from harness.hosts.base import Host
from harness.hosts.program import program
from harness.journal.journal import Journal, UndoWrite
from harness.pci.device import Device
from harness.pci.group import assign_to_vfio
from harness.pci.sriov import functions_made, require_no_vfs

ENABLE = "/sys/module/vfio_pci/parameters/enable_sriov"


@dataclass(frozen=True)
class VfToken:
    """A secret of one run: random, and never part of an argument, a message or a log."""

    value: str = field(default_factory=lambda: str(uuid.uuid4()), repr=False)


@contextmanager
def functions_by_token(
    host: Host, pf: str, count: int, token: VfToken, journal: Journal
) -> Iterator[tuple[str, ...]]:
    """The PF bound to vfio-pci, with `count` VFs that open with `token` only, unbound; yields their
    BDFs. Afterwards the PF is as before.

    MissingCapability if vfio-pci makes no VFs here, or something needed must not be changed.
    """
    journal.permit("sriov")
    require_no_vfs(host, pf)
    with assign_to_vfio(host, pf, journal), _sriov_enabled(host, journal):
        if message := refusal(host, pf, token):  # to open the PF with a token is to set it
            raise LabError(f"{host.name}: {pf} cannot be opened to set its VF token: {message}")
        with functions_made(host, pf, count, journal) as vfs:
            yield vfs


@contextmanager
def _sriov_enabled(host: Host, journal: Journal) -> Iterator[None]:
    """vfio-pci, which is loaded, makes VFs."""
    try:
        prior = host.read(ENABLE).decode().strip()
    except FileNotFoundError as error:
        why = f"{host.name}'s vfio-pci has no parameter enable_sriov"
        raise MissingCapability("SR-IOV under vfio-pci", why) from error
    with journal.change("let vfio-pci make VFs", (UndoWrite(ENABLE, prior),)):
        host.write(ENABLE, b"Y")
        yield


def refusal(host: Host, bdf: str, token: VfToken | None = None) -> str:
    """Ask vfio for a function that is bound to vfio-pci, and give it back: the name of the errno
    with which it is refused, "" if it is not."""
    spec = {
        "bdf": bdf,
        "group": Device(host, bdf).iommu_group,
        "token": token.value if token else "",
    }
    return host.run(program(__package__, "vftoken"), stdin=msgspec.json.encode(spec)).text.strip()
