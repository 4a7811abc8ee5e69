"""The MTU of both ends, over a veth pair between two namespaces of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import CommandFailed, ConfigError
from harness.hosts.local import LocalHost
from harness.journal.journal import Journal
from harness.net.netdev import link, resize, resized
from harness.paths.partner import Partner

HOST = LocalHost()
NEAR, FAR = (f"nicproof-mtu-{end}-{os.getpid()}" for end in ("near", "far"))
ADDRESS, OTHER = "10.97.1.1", "10.97.1.2"


@pytest.fixture
def partner(tmp_path: Path) -> Iterator[Partner]:
    """Its port is `near`; what answers it is `far`, in another namespace."""
    try:
        for netns in (NEAR, FAR):
            HOST.run(("ip", "netns", "add", netns))
    except CommandFailed as error:
        pytest.skip(f"namespaces: {error}")
    try:
        peer = ("type", "veth", "peer", "name", "far", "netns", FAR)
        HOST.run(("ip", "-n", NEAR, "link", "add", "near", *peer))
        for netns, name, address in ((NEAR, "near", ADDRESS), (FAR, "far", OTHER)):
            HOST.run(("ip", "-n", netns, "address", "add", f"{address}/24", "dev", name))
            HOST.run(("ip", "-n", netns, "link", "set", name, "up"))
        journal = Journal(HOST, "mtu", root=str(tmp_path))
        yield Partner(HOST, journal, NEAR, "near", ADDRESS, "")
    finally:
        for netns in (NEAR, FAR):
            HOST.run(("ip", "netns", "delete", netns))


def test_a_port_has_its_own_mtu_again_afterwards(partner: Partner, tmp_path: Path) -> None:
    with partner.resized(4000):
        assert link(HOST, "near", NEAR).mtu == 4000
        (entry,) = (tmp_path / "mtu").iterdir()
        assert "mtu" in entry.read_text() and "1500" in entry.read_text(), "restore can do it, too"
    assert link(HOST, "near", NEAR).mtu == 1500
    assert not list((tmp_path / "mtu").iterdir())


@pytest.mark.skipif(shutil.which("ping") is None, reason="this machine has no ping")
def test_a_frame_of_that_length_has_to_get_through(partner: Partner) -> None:
    partner.reaches(OTHER)
    with partner.resized(4000):
        with pytest.raises(ConfigError, match=f"no frame of that length gets .* to {OTHER}"):
            partner.carries(OTHER, 4000)
        resize(HOST, "far", 4000, FAR)
        partner.carries(OTHER, 4000)


@pytest.mark.usefixtures("partner")
def test_an_end_that_refuses_is_named_and_nothing_stays_changed(tmp_path: Path) -> None:
    """A macvlan can have no more than what it is upon."""
    HOST.run(("ip", "-n", NEAR, "link", "add", "link", "near", "name", "upon", "type", "macvlan"))
    journal = Journal(HOST, "mtu", root=str(tmp_path))
    refused = pytest.raises(ConfigError, match=r"--mtu 4000: upon of .* refuses it: .*nvalid")
    with refused as caught, resized(HOST, "upon", 4000, journal, NEAR):
        raise AssertionError("it was taken")
    assert "maxmtu" in caught.value.remedy
    assert link(HOST, "upon", NEAR).mtu == 1500
    assert not list((tmp_path / "mtu").iterdir())


def test_a_rate_beyond_the_links_is_refused(partner: Partner) -> None:
    """A veth says that it has 10 Gbit/s."""
    partner.require_rate(10_000_000_000)
    with pytest.raises(ConfigError, match=r"--udp-rate 10001: the link of near .* has 10000"):
        partner.require_rate(10_001_000_000)
