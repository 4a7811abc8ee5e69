"""Firewalls and managers of networks, by what their tools (nft 1.0.6, iptables-nft 1.8.9) print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.core.errors import MissingCapability, NotStarted
from harness.doctor import network
from harness.doctor.findings import Finding
from harness.hosts.base import CommandResult
from harness.inventory import HostSpec
from harness.net import firewall
from harness.net.managers import by_network_manager, by_networkd
from harness.qualify.rig.rig import Rig
from harness.qualify.traffic.traffic_paths import pf_addressed
from suites.selftest.support.files import CAPTURED
from suites.selftest.support.rooted_host import RootedHost, with_82599
from suites.selftest.unit.doctor.test_doctor import by_name

DATA = CAPTURED / "nft"
MANAGERS = DATA.with_name("managers")
LIST = "nft list ruleset"


def chains(ruleset: str, interface: str) -> list[str]:
    text = (DATA / f"{ruleset}.txt").read_text()
    return [str(each) for each in firewall.parse(text) if each.drops(interface)]


def test_a_policy_of_dropping_what_comes_in_is_known() -> None:
    """nftables' own example for a workstation, and iptables -P INPUT DROP beside it. What is
    forwarded is no concern."""
    assert chains("dropping", "eth0") == ["inet filter input", "ip filter INPUT"]


def test_an_interface_that_is_let_in_is_known() -> None:
    assert chains("eth1-accepted", "eth1") == []
    assert chains("eth1-accepted", "eth11") == ["inet filter input", "ip filter INPUT"]


def test_a_last_rule_that_rejects_is_as_good_as_a_policy() -> None:
    """As firewalld has it: the policy is to accept."""
    assert chains("rejecting", "eth0") == ["inet site in"]
    assert not list(firewall.parse(""))


@pytest.fixture
def server(tmp_path: Path) -> RootedHost:
    """A server with two ports, eth0 and eth1, that has neither firewall nor manager."""
    host = with_82599(tmp_path / "alpha")
    host.answers = {**host.answers, LIST: ""}
    return host


def findings(host: RootedHost) -> dict[str, Finding]:
    return by_name(tuple(network.network(host, HostSpec(name="alpha", address="alpha"))))


def test_a_host_that_nobody_else_has_a_hand_in(server: RootedHost) -> None:
    assert {name: each.state for name, each in findings(server).items()} == {"input policy": "yes"}


class WithoutNft(RootedHost):
    def run(self, argv: Sequence[str], **options: Any) -> CommandResult:
        if argv[0] == "nft":
            raise NotStarted("alpha: cannot start nft: No such file or directory")
        return super().run(argv, **options)


def test_without_nft_nothing_is_said_of_rules(server: RootedHost) -> None:
    bare = WithoutNft(server.root, {**server.answers})
    found = findings(bare)["input policy"]
    assert (found.state, found.remedy) == ("note", "sudo apt-get install nftables")


def test_doctor_tells_of_a_firewall_and_how_to_let_ports_in(server: RootedHost) -> None:
    server.answers = {**server.answers, LIST: (DATA / "eth1-accepted.txt").read_text()}
    found = findings(server)["input policy"]
    assert found.state == "note" and "by eth0 (inet filter input, ip filter INPUT)" in found.detail
    assert found.remedy == (
        'nft insert rule inet filter input iifname "eth0" accept; '
        'nft insert rule ip filter INPUT iifname "eth0" accept'
    )


def test_cases_do_not_lay_a_firewall_at_the_nics_door(server: RootedHost) -> None:
    """What is sent to the port's own address would be lost, and it would be the NIC's failure."""
    server.answers = {**server.answers, LIST: (DATA / "dropping.txt").read_text()}
    port = SimpleNamespace(interface="eth0")
    rig = cast(Rig, SimpleNamespace(host=server, port=port))
    with (
        pytest.raises(MissingCapability, match=r"traffic to the PF: the host's firewall drops"),
        pf_addressed(rig),
    ):
        pass


@pytest.mark.parametrize(
    ("captured", "managed"),
    [
        ("nmcli-1.52.1", {"enp0s2", "enp1s0", "enp2s0", "lo"}),
        ("nmcli-1.52.1-kept-off", {"enp0s2", "lo"}),  # by the line that doctor tells
        ("networkctl-257-not-running", set()),
    ],
)
def test_what_a_manager_manages(captured: str, managed: set[str]) -> None:
    """By what their programs said on a Debian 13."""
    text = (MANAGERS / f"{captured}.txt").read_text()
    parse = by_network_manager if captured.startswith("nmcli") else by_networkd
    assert parse(text) == managed


MANAGED = """\
eth0:connecting (getting IP configuration)
eth1:unmanaged
bond0.7:disconnected
lo:connected (externally)
"""


def test_managers_are_told_with_the_lines_that_keep_them_off(server: RootedHost) -> None:
    server.answers = {**server.answers, "nmcli -t -f DEVICE,STATE device": MANAGED}
    found = findings(server)["NetworkManager"]
    assert found.state == "note" and "manages eth0:" in found.detail
    assert "unmanaged-devices=interface-name:eth0;interface-name:eth0v*" in found.remedy


@pytest.mark.parametrize(
    ("ask", "manager"),
    [
        ("nmcli -t -f DEVICE,STATE device", "NetworkManager"),
        ("networkctl --no-legend --no-pager list", "systemd-networkd"),
    ],
)
def test_cases_do_not_lay_a_manager_at_the_nics_door(
    ask: str, manager: str, server: RootedHost
) -> None:
    """It takes the port's address away amid a transfer: seen with NetworkManager 1.52, when DHCP
    had no answer for 45 s."""
    server.answers = {**server.answers, ask: MANAGED if "nmcli" in ask else NETWORKD}
    rig = cast(Rig, SimpleNamespace(host=server, port=SimpleNamespace(interface="eth0")))
    with (
        pytest.raises(MissingCapability, match=f"traffic to the PF: {manager} manages eth0,") as it,
        pf_addressed(rig),
    ):
        pass
    assert "eth0v*" in it.value.remedy and "eth1" not in it.value.remedy


NETWORKD = """\
  1 lo    loopback carrier  unmanaged
  2 eth0  ether    routable configured
  3 eth1  ether    off      unmanaged
"""


def test_networkd_is_another_manager(server: RootedHost) -> None:
    server.answers = {**server.answers, "networkctl --no-legend --no-pager list": NETWORKD}
    assert "[Match]\\nName=eth0 eth0v*\\n[Link]\\nUnmanaged=yes" in (
        findings(server)["systemd-networkd"].remedy
    )
