"""How drivers are changed: by new_id only what is ours is taken, and an IOMMU group as a whole.

That the kernel does what is written here is shown in the nested lab (test_binding_live.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import LabError, MissingCapability
from harness.inventory import PortPair
from harness.journal.journal import DIRECTORY, Journal
from harness.journal.permissions import Binding
from harness.paths.parts import unmet_group
from harness.pci import group
from harness.pci.binding import bound
from suites.selftest.support.rooted_host import PLAIN, RootedHost, with_82599

VFIO = "/sys/bus/pci/drivers/vfio-pci"


@pytest.fixture
def server(tmp_path: Path) -> RootedHost:
    """With two ports of an 82599, each alone in its IOMMU group, and vfio-pci."""
    host = with_82599(tmp_path / "alpha")
    host.plain = (*PLAIN, "sh")
    for path in ("remove_id", "unbind"):
        host.put(f"{VFIO}/{path}")
    # In place of an attribute that refuses what is written to it, as for an ID that is not known.
    (host.root / f"{VFIO}/bind".lstrip("/")).mkdir()
    return host


@pytest.fixture
def bdfs(server: RootedHost) -> tuple[str, str]:
    one, two = (path.rpartition("/")[2] for path in server.glob("/sys/bus/pci/devices/*"))
    return one, two


def without_driver(host: RootedHost, bdf: str) -> None:
    (host.root / f"sys/bus/pci/devices/{bdf}/driver").unlink()


def by_new_id(host: RootedHost, *ports: str) -> Journal:
    return Journal(host, "run", binding=Binding("new_id", ports=frozenset(ports)))


def test_new_id_that_would_take_a_strangers_function_is_not_written(
    server: RootedHost, bdfs: tuple[str, str]
) -> None:
    """Both ports are of one ID; the other one has no driver and is no port of the inventory."""
    one, two = bdfs
    for bdf in bdfs:
        without_driver(server, bdf)
    with (
        pytest.raises(MissingCapability, match=f"binding by new_id: it would bind {two}, too"),
        bound(server, one, "vfio-pci", by_new_id(server, one)),
    ):
        pass
    assert not server.exists(f"{VFIO}/new_id")


@pytest.mark.parametrize("listed", [True, False], ids=["ours", "with its driver"])
def test_an_id_is_told_for_a_moment_only(
    listed: bool, server: RootedHost, bdfs: tuple[str, str]
) -> None:
    """A function that has a driver is in no danger, whosever it is. Nothing binds here, since there
    is no kernel behind these files: that is told, not passed over."""
    one, two = bdfs
    without_driver(server, one)
    if listed:
        without_driver(server, two)
        server.put(f"{VFIO}/{two}")
    message = f"{one} should be bound to vfio-pci and is bound to none"
    with (
        pytest.raises(LabError, match=message),
        bound(server, one, "vfio-pci", by_new_id(server, one, *([two] if listed else []))),
    ):
        pass
    assert server.read(f"{VFIO}/new_id") == server.read(f"{VFIO}/remove_id") == b"8086 10fb"
    assert server.read(f"{VFIO}/unbind") == (two.encode() if listed else b"")
    assert not server.glob(f"{DIRECTORY}/*/*.json")


def test_an_id_that_the_driver_knows_is_neither_told_nor_taken_back(
    server: RootedHost, bdfs: tuple[str, str]
) -> None:
    one, _ = bdfs
    without_driver(server, one)
    (server.root / f"{VFIO}/bind".lstrip("/")).rmdir()
    with pytest.raises(LabError), bound(server, one, "vfio-pci", by_new_id(server, one)):
        pass
    assert server.read(f"{VFIO}/bind").decode() == one
    assert not server.exists(f"{VFIO}/new_id")
    assert server.read(f"{VFIO}/remove_id") == b""


def together(host: RootedHost, *bdfs: str, pci_class: str = "0x020000") -> None:
    """Functions put into the IOMMU group of the first port; one that is not there is made."""
    for bdf in bdfs:
        host.put(f"/sys/kernel/iommu_groups/30/devices/{bdf}")
        host.put(f"/sys/bus/pci/devices/{bdf}/class", f"{pci_class}\n")


def used(monkeypatch: pytest.MonkeyPatch, **reasons: str) -> None:
    """In place of the guard, which test_port_guard.py has: nobody uses any port but these."""
    monkeypatch.setattr(group, "refusals", lambda _, bdf: (reasons[bdf],) if bdf in reasons else ())


def test_a_port_alone_in_its_group_but_for_bridges_holds_nothing(
    server: RootedHost, bdfs: tuple[str, str]
) -> None:
    one, _ = bdfs
    together(server, "0000:00:01.1", pci_class="0x060400")
    together(server, "0000:00:01.0", pci_class="0x060000")
    assert group.others(server, one) == group.group_to_hold(server, one, Binding()) == ()


def test_all_of_a_group_that_has_a_driver_is_held_if_it_is_ours(
    server: RootedHost, bdfs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = bdfs
    third = "0000:02:00.0"
    together(server, two, third)
    server.link(f"/sys/bus/pci/devices/{third}/driver", "../../../../bus/pci/drivers/pci-stub")
    used(monkeypatch)
    assert group.group_to_hold(server, one, Binding(ports=frozenset({one, two, third}))) == (two,)
    with pytest.raises(MissingCapability, match=f"{third} shares its .* no port of the inventory"):
        group.group_to_hold(server, one, Binding(ports=frozenset({one, two})))
    used(monkeypatch, **{two: "it is busy"})
    with pytest.raises(MissingCapability, match=f"{two} shares its IOMMU group.* it is busy"):
        group.group_to_hold(server, one, Binding(ports=frozenset({one, two, third})))


def test_a_vf_takes_its_siblings_along_but_never_its_pf(
    server: RootedHost, bdfs: tuple[str, str]
) -> None:
    pf, vf, sibling = bdfs[0], "0000:01:10.0", "0000:01:10.2"
    together(server, vf, sibling)
    for each in (vf, sibling):
        server.link(f"/sys/bus/pci/devices/{each}/physfn", f"../{pf}")
        server.link(
            f"/sys/bus/pci/devices/{each}/iommu_group", "../../../../kernel/iommu_groups/30"
        )
    with pytest.raises(MissingCapability, match=f"{pf} shares .* is its PF, which ixgbe must keep"):
        group.group_to_hold(server, vf, Binding(ports=frozenset({pf})))
    (server.root / f"sys/kernel/iommu_groups/30/devices/{pf}").unlink()
    assert group.group_to_hold(server, vf, Binding()) == ()


def test_a_port_beside_its_partner_is_missing_as_a_whole_port(
    server: RootedHost, bdfs: tuple[str, str]
) -> None:
    one, two = bdfs
    assert unmet_group(server, PortPair(one, two)) is None
    together(server, two)
    unmet = unmet_group(server, PortPair(one, two, binding=Binding(ports=frozenset(bdfs))))
    assert unmet == (
        f"isolation of {one}",
        "its link partner shares its IOMMU group, which is handed over as a whole",
    )
    remote_partner = PortPair(one, two, binding=Binding(ports=frozenset(bdfs)), remote_partner=True)
    unmet = unmet_group(server, remote_partner)
    assert unmet == ("kernel module pci-stub", "alpha's kernel has none"), "to hold the other by"
    server.put("/sys/bus/pci/drivers/pci-stub/bind")
    assert unmet_group(server, remote_partner) is None, (
        "what has the partner's BDF here is another port"
    )
    stranger = unmet_group(server, PortPair(one, "0000:03:00.0"))
    assert stranger is not None and f"{two} shares" in stranger[1]
