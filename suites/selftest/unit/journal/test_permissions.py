"""What an inventory does not allow is not done to a host, and is told by name beforehand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from harness import paths
from harness.core.errors import MissingCapability
from harness.core.facts import PathKind
from harness.inventory import PortPair
from harness.journal.journal import DIRECTORY, Journal, restore
from harness.journal.modules import lent, load
from harness.journal.permissions import EVERYTHING, Permission
from harness.paths.parts import unmet_module
from harness.pci.binding import bound, unbound
from harness.pci.sriov import virtual_functions
from suites.selftest.support.rooted_host import RootedHost, with_82599

VFIO = ("vfio-pci", "/sys/bus/pci/drivers/vfio-pci")


@pytest.fixture
def server(tmp_path: Path) -> RootedHost:
    """With KVM, an 82599, and a kernel that has every module, of which none is loaded."""
    host = with_82599(tmp_path / "alpha")
    host.put("/dev/kvm")
    for module in ("vfio-pci", "ixgbevf", "macvtap", "vhost-net", "pktgen"):
        host.answers = {
            **host.answers,
            f"modprobe --dry-run {module}": "",
            f"modprobe {module}": "",
        }
    return host


@pytest.fixture
def pair(server: RootedHost) -> PortPair:
    one, two = (path.rpartition("/")[2] for path in server.glob("/sys/bus/pci/devices/*"))
    return PortPair(one, two)


def without(ports: PortPair, permission: Permission) -> PortPair:
    return replace(ports, may=EVERYTHING - {permission})


def of_kinds(*kinds: PathKind) -> set[str]:
    return {path.name for path in paths.ALL if path.facts.kind in kinds}


@pytest.mark.parametrize(
    ("permission", "barred"),
    [
        ("sriov", of_kinds("native", "vf")),
        ("bind", of_kinds("native", "vf", "passthrough")),
        ("modules", {path.name for path in paths.ALL}),  # none is loaded
        ("tune", set()),
    ],
)
def test_paths_that_are_not_allowed_are_missing_by_name(
    permission: Permission, barred: set[str], server: RootedHost, pair: PortPair
) -> None:
    assert all(path.missing(server, pair) is None for path in paths.ALL)
    found = {path.name: path.missing(server, without(pair, permission)) for path in paths.ALL}
    assert {name for name, unmet in found.items() if unmet} == barred
    for unmet in filter(None, found.values()):
        message = f'the inventory does not have "{permission}" in `may` of alpha'
        assert unmet[0] == f"permission {permission}" and unmet[1].endswith(message)


def test_a_module_that_the_kernel_has_not_is_missing_whatever_is_allowed(
    server: RootedHost, pair: PortPair
) -> None:
    unmet = ("kernel module nonesuch", "alpha's kernel has none")
    assert unmet_module(server, pair, "nonesuch", "/sys/module/nonesuch") == unmet
    with pytest.raises(MissingCapability, match="kernel module nonesuch: alpha's kernel has none"):
        load(server, "nonesuch", "/sys/module/nonesuch", Journal(server, "run"))


Change = Callable[[RootedHost, str, Journal], AbstractContextManager[object]]


@pytest.mark.parametrize(
    ("permission", "change"),
    [
        ("bind", lambda host, bdf, journal: bound(host, bdf, "vfio-pci", journal)),
        ("bind", unbound),
        ("sriov", lambda host, bdf, journal: virtual_functions(host, bdf, ("02::",), journal)),
    ],
)
def test_what_is_not_allowed_is_refused_where_it_would_be_done(
    permission: Permission, change: Change, server: RootedHost, pair: PortPair
) -> None:
    """Whoever asks: a case of a qualification may not have said what it needs."""
    journal = Journal(server, "run", may=EVERYTHING - {permission})
    with (
        pytest.raises(MissingCapability, match=f"permission {permission}: .* of alpha"),
        change(server, pair.dut, journal),
    ):
        pass
    assert not server.glob(f"{DIRECTORY}*/*")


def test_a_module_is_loaded_if_that_is_allowed_and_restore_unloads_it(server: RootedHost) -> None:
    barred = Journal(server, "run", may=EVERYTHING - {"modules"})
    with pytest.raises(MissingCapability, match="permission modules: vfio-pci is not loaded, and "):
        load(server, *VFIO, barred)
    journal = Journal(server, "run")
    load(server, *VFIO, journal)
    journal.close()
    server.put("/sys/module/vfio_pci/refcnt", "0\n")
    server.answers = {**server.answers, "modprobe -r vfio-pci": ""}
    assert restore(server) == ("loaded module vfio-pci",)


def test_a_module_that_is_there_needs_no_permission(server: RootedHost) -> None:
    server.put("/sys/bus/pci/drivers/vfio-pci/new_id")
    load(server, *VFIO, Journal(server, "run", may=frozenset()))
    assert not server.glob(f"{DIRECTORY}*/*")


def test_a_module_that_is_lent_is_there_as_long_as_it_is_needed(server: RootedHost) -> None:
    with (
        pytest.raises(MissingCapability, match="permission modules"),
        lent(server, "pktgen", Journal(server, "run", may=frozenset())),
    ):
        pass
    server.answers = {**server.answers, "modprobe -r pktgen": ""}
    with lent(server, "pktgen", Journal(server, "run")):
        (entry,) = server.glob(f"{DIRECTORY}/run/*.json")  # `restore` would unload it
        assert b"modprobe" in server.read(entry)
    assert not server.glob(f"{DIRECTORY}*/run/*.json")


def test_a_module_that_somebody_else_loaded_stays(server: RootedHost) -> None:
    server.put("/sys/module/pktgen/refcnt", "0\n")
    with lent(server, "pktgen", Journal(server, "run", may=frozenset())):
        assert not server.glob(f"{DIRECTORY}*/run/*.json")
