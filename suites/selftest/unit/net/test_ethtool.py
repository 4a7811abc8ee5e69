"""ethtool and ip, read from what they print for QEMU's igb and its VF (ethtool 6.14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.hosts.local import LocalHost
from harness.net.ethtool import (
    Channels,
    abilities,
    parse_channels,
    parse_clock,
    parse_features,
    parse_info,
    parse_max_mtu,
    parse_speeds,
)
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "ethtool"


def captured(name: str) -> str:
    return (DATA / name).read_text()


def test_what_the_pf_can_do() -> None:
    assert parse_info(captured("pf-info.txt"))["driver"] == "igb"
    assert parse_speeds(captured("pf-modes.txt")) == (10, 100, 1000)
    assert parse_channels(captured("pf-channels.txt")) == Channels(most=8, now=2)
    assert parse_clock(captured("pf-timestamps.txt")) is True
    assert parse_max_mtu(captured("pf-link.json")) == 9216


def test_a_clock_is_found_as_ethtool_tells_of_it_today() -> None:
    """From 6.14 on, with a kernel that has providers of time stamps (canonical/checkbox, pull
    request 2677)."""
    assert parse_clock(captured("timestamps-6.19.txt")) is True


def test_what_its_vf_can_do() -> None:
    info = parse_info(captured("vf-info.txt"))
    assert info["driver"] == "igbvf" and info["firmware-version"] == ""
    assert parse_speeds(captured("vf-modes.txt")) == (1000,)
    assert parse_channels(captured("vf-channels.txt")) is None, "igbvf has none to be set"
    assert parse_clock(captured("vf-timestamps.txt")) is False
    assert parse_max_mtu(captured("vf-link.json")) == 9216


def test_features_that_are_off_but_can_be_had_count() -> None:
    found = (parse_features(captured(f"{which}-features.txt")) for which in ("pf", "vf"))
    pf, vf = ([name for name, each in features.items() if each.offered] for features in found)
    assert "rx-all" in pf and "rx-all" not in vf, "off with igb, off and fixed with igbvf"
    assert "rx-vlan-filter" in vf, "on and fixed"
    assert "ntuple-filters" not in pf and "tx-tcp-segmentation" in pf


@pytest.mark.parametrize("text", ["", "netlink error: No such device\n", "{", "[]", "[{}]"])
def test_what_is_not_told_is_not_known(text: str) -> None:
    assert parse_speeds(text) == () and parse_features(text) == {}
    assert parse_channels(text) is None and parse_clock(text) is None
    assert parse_max_mtu(text) is None


def test_a_host_that_lacks_the_tools_or_the_interface_tells_nothing(tmp_path: Path) -> None:
    for host in (LocalHost(), LocalHost(env={"PATH": str(tmp_path)})):
        nothing = abilities(host, "no-such-if")
        assert (nothing.driver, nothing.speeds, nothing.offloads) == ("", None, None)
        assert (nothing.channels, nothing.clock, nothing.max_mtu) == (None, None, None)
